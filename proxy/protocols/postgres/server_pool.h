#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SERVER_POOL_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SERVER_POOL_H_

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "proxy/config/config.h"
#include "proxy/core/loop.h"
#include "proxy/protocols/postgres/login.h"
#include "proxy/protocols/postgres/server_statements.h"
#include "proxy/protocols/postgres/session_state.h"
#include "proxy/protocols/postgres/shared.h"

namespace clonesafe::proxy::postgres {

// A connection that sessions share, one after the other, and what the last one left there.
struct SharedServer {
  Backend backend;
  std::string key;  // who may share it
  std::shared_ptr<const CancelTarget> target;
  std::shared_ptr<const SessionState> state;
  ServerStatements statements;
};

// The connections of one thread to one server, which are lent for a transaction each. There are
// never more than `upstream.max_connections`, those included that are being opened, and closed with
// a goodbye; whoever finds none free waits in a queue. Not thread-safe.
class ServerPool {
 public:
  using Clock = std::chrono::steady_clock;
  // Between two logins at a server that is full.
  static constexpr std::chrono::milliseconds kLongestPause{2'000};

  // They outlive it. `keeper` gives what has to be there as long as a connection is.
  using Keeper = std::function<std::shared_ptr<void>()>;
  ServerPool(Loop& loop, const ServiceConfig& config, Keeper keeper)
      : loop_(loop), config_(config), keeper_(std::move(keeper)) {}
  ServerPool(const ServerPool&) = delete;
  ServerPool& operator=(const ServerPool&) = delete;

  // One of so many.
  class Place {
   public:
    explicit Place(ServerPool& pool) : pool_(&pool) { ++pool.lent_; }
    Place(Place&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (pool_ != nullptr) pool_->vacate();
    }

   private:
    ServerPool* pool_;
  };
  struct Loan {
    Place place;
    std::unique_ptr<SharedServer> server;  // null: none was there, and one may be opened
  };

  // A session that may have to wait.
  class Waiter {
   public:
    explicit Waiter(Loop& loop) : timer_(loop.timer()) {}
    // It waits no more.
    void cancel() {
      gone_ = true;
      timer_.cancel();
    }
    // Its application has left while it waited.
    bool left() const { return left_; }
    // When it asked last, and was counted.
    bool waited() const { return waited_; }
    // When its `hold_ms` is over, since it asked last.
    Clock::time_point until() const { return until_; }

   private:
    friend class ServerPool;
    boost::asio::steady_timer timer_;
    std::string key_;
    Stream* application_ = nullptr;
    Clock::time_point until_;
    std::unique_ptr<Loan> loan_;
    bool gone_ = false;
    bool left_ = false;
    bool waited_ = false;
  };

  // For the first message of a transaction; in the order in which they ask. Null: `hold_ms` is
  // over, or the application has left, or the waiter was cancelled. While it is parked nothing is
  // lent, and no time passes. All outlives the wait.
  Awaitable<std::unique_ptr<Loan>> borrow(Waiter& waiter, const std::string& key,
                                          Stream& application);
  // Nothing is under way on it, and nobody reads. One that is older than `upstream.lifetime_ms` is
  // closed, so that somebody else's proxy can have its place at a server that is full.
  void give_back(std::unique_ptr<Loan> loan);

  // The server refused a login because it is full; or one was taken, after it had refused some.
  void found_full() { contended_ = true; }
  void let_in(bool at_once) { contended_ = contended_ && !at_once; }
  // No connection is opened before: if the last one was given up for its age, and the server had
  // been full, others that wait for its place come as early.
  Clock::time_point opens_from() const { return opens_from_; }

  // What an application with these parameters is told at its login, if one was told before.
  const std::map<std::string, std::string>* welcome(const std::string& parameters) const;
  void keep_welcome(const std::string& parameters, std::map<std::string, std::string> told);

  // Lets go of idle ones that are of an earlier generation, without a word.
  void fence();
  // Closes what has waited or lived too long, or was closed by the server; finds waiters that have
  // left.
  void look(Clock::time_point now);
  // A snapshot was announced; with `part`, idle ones are closed with a goodbye.
  void park(bool part);
  void unpark();

  struct Counts {
    std::uint64_t fenced = 0;     // idle ones, because the machine was cloned
    std::uint64_t waited = 0;     // for a free one
    std::uint64_t timed_out = 0;  // of these, until `hold_ms` was over
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Idle {
    std::unique_ptr<SharedServer> server;
    Clock::time_point since;
  };

  std::unique_ptr<Loan> lend(const std::string& key);
  void vacate();
  void serve();
  bool full() const;
  bool too_old(const SharedServer& server, Clock::time_point now) const;
  void part_from(std::list<Idle>::iterator idle);
  void part_from_old(std::unique_ptr<Loan> loan);
  void say_goodbye(std::shared_ptr<Stream> stream, Place place);
  Awaitable<void> leave(std::shared_ptr<void> kept, std::shared_ptr<Stream> stream, Place place);

  Loop& loop_;
  const ServiceConfig& config_;
  const Keeper keeper_;
  std::size_t lent_ = 0;  // places that somebody has
  std::size_t leaving_ = 0;
  std::list<Idle> idle_;  // the one that was used last is in front
  std::deque<Waiter*> waiters_;
  std::map<std::string, std::map<std::string, std::string>> welcomes_;
  bool parked_ = false, parts_ = false;
  bool contended_ = false;  // the last login was refused before it was taken
  Clock::time_point opens_from_;
  Clock::time_point looked_;
  Counts counts_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SERVER_POOL_H_
