#ifndef CLONESAFE_PROXY_CORE_LINE_H_
#define CLONESAFE_PROXY_CORE_LINE_H_

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <list>

#include "proxy/core/loop.h"
#include "proxy/core/stream.h"

namespace clonesafe::proxy {

// Coroutines of one thread that wait for the same thing, first come first served. Who manages that
// thing calls them to look again. Not thread-safe.
class Line {
 public:
  using Clock = std::chrono::steady_clock;

  // One of them, in line from its making to its end. Looks and then waits, without a suspension in
  // between: so no call is missed.
  class Waiter {
   public:
    // `urgent` is looked at each time: who is urgent is in front of who isn't. Null: always.
    Waiter(Line& line, Loop& loop, const bool* urgent = nullptr)
        : line_(line), urgent_(urgent), timer_(loop.timer()) {
      line_.waiters_.push_back(this);
    }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter() { leave(); }

    // Who is first then looks.
    void leave() {
      if (line_.waiters_.remove(this) != 0) line_.call();
    }

    bool first() const { return line_.first() == this; }
    // Until it is called, and no longer than this.
    Awaitable<void> wait(Clock::time_point until) {
      timer_.expires_at(until);
      co_await timer_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    }
    void call() { timer_.cancel(); }

   private:
    friend class Line;
    Line& line_;
    const bool* const urgent_;
    boost::asio::steady_timer timer_;
  };

  bool empty() const { return waiters_.empty(); }
  std::size_t size() const { return waiters_.size(); }
  // Null: nobody waits.
  Waiter* first() const {
    if (waiters_.empty()) return nullptr;
    const auto urgent = std::ranges::find_if(waiters_, [](const Waiter* waiter) {
      return waiter->urgent_ == nullptr || *waiter->urgent_;
    });
    return urgent != waiters_.end() ? *urgent : waiters_.front();
  }
  void call() {
    if (Waiter* const waiter = first(); waiter != nullptr) waiter->call();
  }
  void call_all() {
    for (Waiter* const waiter : waiters_) waiter->call();
  }

 private:
  std::list<Waiter*> waiters_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_LINE_H_
