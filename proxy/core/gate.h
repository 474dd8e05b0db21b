#ifndef CLONESAFE_PROXY_CORE_GATE_H_
#define CLONESAFE_PROXY_CORE_GATE_H_

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <unordered_set>

namespace clonesafe::proxy {

// Where coroutines of one thread wait while it is closed. It may be closed for several reasons, and
// is open when none of them is left. Not thread-safe.
class Gate {
 public:
  enum class Reason : unsigned {
    kPaused = 1,  // an operator says so
    kParked = 2   // a snapshot was announced
  };

  bool closed() const { return reasons_ != 0; }
  bool closed_for(Reason reason) const { return (reasons_ & static_cast<unsigned>(reason)) != 0; }
  void close(Reason reason) { reasons_ |= static_cast<unsigned>(reason); }
  void open(Reason reason) {
    reasons_ &= ~static_cast<unsigned>(reason);
    if (closed()) return;
    for (boost::asio::steady_timer* timer : waiting_) timer->cancel();
  }

  // Returns when the gate may be open again, or `timer` was cancelled.
  boost::asio::awaitable<void> wait(boost::asio::steady_timer& timer) {
    timer.expires_at(boost::asio::steady_timer::time_point::max());
    const Place place(waiting_, &timer);
    co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  }

 private:
  using Waiting = std::unordered_set<boost::asio::steady_timer*>;
  class Place {
   public:
    Place(Waiting& waiting, boost::asio::steady_timer* timer) : waiting_(waiting), timer_(timer) {
      waiting_.insert(timer_);
    }
    ~Place() { waiting_.erase(timer_); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    Waiting& waiting_;
    boost::asio::steady_timer* const timer_;
  };

  unsigned reasons_ = 0;
  Waiting waiting_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_GATE_H_
