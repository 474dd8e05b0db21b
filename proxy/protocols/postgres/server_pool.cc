#include "proxy/protocols/postgres/server_pool.h"

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/core/backoff.h"
#include "proxy/core/spawn.h"
#include "proxy/wire/postgres/client_messages.h"

namespace clonesafe::proxy::postgres {
namespace {

namespace asio = boost::asio;

// Each look at a connection is a system call.
constexpr std::chrono::seconds kLookEvery{1};
// How long a server may take to end a session that has said goodbye.
constexpr std::chrono::seconds kGoodbyeLimit{1};
// Applications may put anything into their StartupMessages.
constexpr std::size_t kMaxWelcomes = 256;

// A place in a queue, unless it was its turn.
template <typename T>
class Queued {
 public:
  Queued(std::deque<T*>& queue, T& who) : queue_(queue), who_(&who) { queue_.push_back(who_); }
  ~Queued() { std::erase(queue_, who_); }
  Queued(const Queued&) = delete;
  Queued& operator=(const Queued&) = delete;

 private:
  std::deque<T*>& queue_;
  T* const who_;
};

}  // namespace

bool ServerPool::full() const {
  const std::uint32_t limit = config_.upstream.max_connections;
  return limit != 0 && lent_ + idle_.size() >= limit;
}

bool ServerPool::too_old(const SharedServer& server, Clock::time_point now) const {
  const auto lifetime = config_.upstream.lifetime;
  return lifetime.count() != 0 && now - server.backend.stream->opened() > lifetime;
}

std::unique_ptr<ServerPool::Loan> ServerPool::lend(const std::string& key) {
  for (auto at = idle_.begin(); at != idle_.end();) {
    if (at->server->key != key) {
      ++at;
      continue;
    }
    if (too_old(*at->server, Clock::now())) {
      part_from(at++);
      continue;
    }
    std::unique_ptr<SharedServer> server = std::move(at->server);
    at = idle_.erase(at);
    Stream& stream = *server->backend.stream;
    // What comes without being asked for may be its end.
    if (stream.quiet())
      return std::make_unique<Loan>(Loan{.place = Place(*this), .server = std::move(server)});
    if (stream.stale()) ++counts_.fenced;
    stream.close();
  }
  if (!full()) return std::make_unique<Loan>(Loan{.place = Place(*this), .server = nullptr});
  // Somebody else's makes room, when its server has ended it.
  if (leaving_ == 0 && !idle_.empty()) part_from(std::prev(idle_.end()));
  return nullptr;
}

Awaitable<std::unique_ptr<ServerPool::Loan>> ServerPool::borrow(Waiter& waiter,
                                                                const std::string& key,
                                                                Stream& application) {
  waiter.until_ = Clock::now() + config_.hold;
  waiter.waited_ = false;
  if (waiters_.empty() && !parked_) {
    if (auto loan = lend(key)) co_return loan;
  }
  ++counts_.waited;
  waiter.waited_ = true;
  waiter.key_ = key;
  waiter.application_ = &application;
  waiter.gone_ = waiter.left_ = false;
  const Queued queued(waiters_, waiter);
  while (!waiter.loan_ && !waiter.gone_) {
    if (!parked_ && Clock::now() >= waiter.until_) {
      ++counts_.timed_out;
      break;
    }
    waiter.timer_.expires_at(parked_ ? Clock::time_point::max() : waiter.until_);
    co_await waiter.timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  auto loan = std::move(waiter.loan_);
  // Whoever left was served at the same time.
  if (loan && waiter.gone_) {
    if (loan->server) give_back(std::move(loan));
    loan.reset();
  }
  co_return loan;
}

// Waiters that are still there are served in turn.
void ServerPool::serve() {
  if (loop_.io().stopped()) return;  // and what is left is destroyed
  while (!parked_ && !waiters_.empty()) {
    Waiter& first = *waiters_.front();
    if (!first.gone_) {
      first.loan_ = lend(first.key_);
      if (!first.loan_) return;
      first.timer_.cancel();
    }
    waiters_.pop_front();
  }
}

void ServerPool::vacate() {
  --lent_;
  serve();
}

void ServerPool::give_back(std::unique_ptr<Loan> loan) {
  SharedServer& server = *loan->server;
  Stream& stream = *server.backend.stream;
  // A request to cancel that is under way would hit the next one.
  const bool cancels = server.target && server.target.use_count() > 1;
  if (stream.stale() || cancels || !server.backend.rest.empty()) {
    if (stream.stale()) ++counts_.fenced;
    stream.close();
    return;
  }
  if (too_old(server, Clock::now())) return part_from_old(std::move(loan));
  if (parts_) return say_goodbye(server.backend.stream, std::move(loan->place));
  idle_.push_front({.server = std::move(loan->server), .since = Clock::now()});
  loan.reset();  // and whoever waits is served
}

// The place is another's when the server has ended the session: it has no more of them at any time.
Awaitable<void> ServerPool::leave(std::shared_ptr<void> /*kept*/, std::shared_ptr<Stream> stream,
                                  Place place) {
  const Place until_here(std::move(place));
  // Whoever called is done with what changes when the place is free.
  co_await asio::post(loop_.io(), asio::use_awaitable);
  std::string terminate;
  wire::postgres::append_terminate(terminate);
  const auto told = co_await stream->write(bytes_of(terminate));
  if (told) {
    asio::steady_timer limit = loop_.timer();
    limit.expires_after(kGoodbyeLimit);
    limit.async_wait([stream](const boost::system::error_code& error) {
      if (!error) stream->close();
    });
    std::array<std::byte, 256> last{};
    for (;;) {
      const auto count = co_await stream->read(last);
      if (!count || *count == 0) break;
    }
  }
  stream->close();
  --leaving_;
}

void ServerPool::say_goodbye(std::shared_ptr<Stream> stream, Place place) {
  ++leaving_;
  spawn(loop_.io(), leave(keeper_(), std::move(stream), std::move(place)));
}

void ServerPool::part_from(std::list<Idle>::iterator idle) {
  std::shared_ptr<Stream> stream = idle->server->backend.stream;
  idle_.erase(idle);
  say_goodbye(std::move(stream), Place(*this));
}

void ServerPool::part_from_old(std::unique_ptr<Loan> loan) {
  if (contended_) opens_from_ = Clock::now() + random_pause(kLongestPause);
  say_goodbye(loan->server->backend.stream, std::move(loan->place));
}

const std::map<std::string, std::string>* ServerPool::welcome(const std::string& parameters) const {
  const auto found = welcomes_.find(parameters);
  return found == welcomes_.end() ? nullptr : &found->second;
}

void ServerPool::keep_welcome(const std::string& parameters,
                              std::map<std::string, std::string> told) {
  if (welcomes_.size() >= kMaxWelcomes) welcomes_.clear();
  welcomes_[parameters] = std::move(told);
}

void ServerPool::fence() {
  // It may be another server.
  welcomes_.clear();
  contended_ = false;
  opens_from_ = {};
  std::erase_if(idle_, [this](const Idle& idle) {
    Stream& stream = *idle.server->backend.stream;
    if (!stream.stale()) return false;
    ++counts_.fenced;
    stream.close();
    return true;
  });
  serve();
}

void ServerPool::look(Clock::time_point now) {
  for (Waiter* waiter : std::deque<Waiter*>(waiters_)) {
    if (!waiter->application_->left()) continue;
    waiter->left_ = true;
    waiter->cancel();
  }
  for (auto at = idle_.begin(); at != idle_.end();) {
    const auto idle = at++;
    const bool waits_too_long = now - idle->since > config_.upstream.idle;
    if (waits_too_long || too_old(*idle->server, now)) part_from(idle);
  }
  if (now - looked_ < kLookEvery) return;
  looked_ = now;
  std::erase_if(idle_, [this](const Idle& idle) {
    Stream& stream = *idle.server->backend.stream;
    if (stream.stale() || stream.quiet()) return false;
    // Its server may be another when it is there again.
    welcomes_.clear();
    stream.close();
    return true;
  });
  serve();
}

void ServerPool::park(bool part) {
  parked_ = true;
  parts_ = parts_ || part;
  while (parts_ && !idle_.empty()) part_from(std::prev(idle_.end()));
}

void ServerPool::unpark() {
  parked_ = parts_ = false;
  for (Waiter* waiter : waiters_) {
    waiter->until_ = Clock::now() + config_.hold;
    waiter->timer_.cancel();
  }
  serve();
}

}  // namespace clonesafe::proxy::postgres
