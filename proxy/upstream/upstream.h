// upstream: how the proxy reaches what is behind it: names, addresses, source ports, TLS, and when
// to try again.
#ifndef CLONESAFE_PROXY_UPSTREAM_UPSTREAM_H_
#define CLONESAFE_PROXY_UPSTREAM_UPSTREAM_H_

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/config.h"
#include "proxy/core/line.h"
#include "proxy/core/loop.h"
#include "proxy/core/plain_stream.h"
#include "proxy/core/stream.h"
#include "proxy/core/traffic.h"
#include "proxy/tls/context.h"
#include "proxy/tls/tickets.h"
#include "proxy/upstream/breaker.h"
#include "proxy/upstream/connection_limit.h"
#include "proxy/upstream/own_ports.h"
#include "proxy/upstream/retries.h"
#include "proxy/upstream/token_bucket.h"
#include "proxy/upstream/upstream_counts.h"

namespace clonesafe::proxy {

// What one thread knows of one upstream. Not thread-safe.
class Upstream {
 public:
  // What has to be said and heard on a connection before TLS begins.
  using RequestTls = Awaitable<Status> (*)(Stream& stream);

  // `tls` is null for none; it and `config` outlive this. `request_tls` is null for nothing.
  // `own_ports`, if not null, knows the ports of all connections.
  Upstream(Loop& loop, const UpstreamConfig& config, const TlsContext* tls,
           RequestTls request_tls = nullptr, std::shared_ptr<OwnPorts> own_ports = nullptr);

  // Who is at the other end of a connection.
  struct Peer {
    Address address;  // as configured
    Endpoint endpoint;
  };

  // Who wants a connection.
  struct Wish {
    std::chrono::milliseconds hold{0};
    std::string_view preface = {};  // sent first, before TLS
    // Where to, and not to a configured address; null: to those.
    const Address* destination = nullptr;
    // Whether an application waits for it by now; null: it does. Outlives what it is for.
    const bool* urgent = nullptr;
    Peer* peer = nullptr;             // then who was reached, if somebody was
    std::string_view* why = nullptr;  // then why nobody was, in words for the application
  };

  // A new connection, in this generation: the first attempt at once, then others until `hold` is
  // over, together with all who wait (Retries). Not before there is a place for it
  // (`max_connections`), or the one of somebody who needs it no more; nor more often than
  // `connect_rate`, where what an application waits for comes first (what none waits for ends with
  // an error in a clone); nor while the breaker is open,
  // which is an error at once. An error names the addresses that were tried last, and why. While
  // it is parked nothing is opened, and no time passes.
  Awaitable<Result<std::shared_ptr<Stream>>> connect(Wish wish);
  // One attempt, at somebody who was reached before.
  Awaitable<Result<std::unique_ptr<Stream>>> connect_again(const Peer& peer,
                                                           std::string_view preface = {});

  // One attempt at an address, beside all limits; `with_tls`: if there is TLS to this upstream.
  Awaitable<Result<std::unique_ptr<Stream>>> connect_for_check(const Address& address,
                                                               std::string_view preface,
                                                               bool with_tls);
  // Of the configuration's addresses: what is down is tried last. A clone knows of none.
  bool down(std::size_t address) const { return down_[address]; }
  void set_down(std::size_t address, bool down) { down_[address] = down; }

  // Gives a connection that somebody needs no more to whoever waits for one, first come first
  // served; false: to nobody, since nobody waits or the next one can't use it.
  bool give(const std::shared_ptr<Stream>& stream, std::string_view preface) {
    return !gate_.closed() && limit_.give(stream, preface);
  }
  // Whether there is no place for another one.
  bool full() const { return limit_.full(); }
  // Whether somebody waits for a place.
  bool awaited() const { return limit_.awaited(); }
  // Closes a connection that is not in use, to make a place; false if there is none.
  void set_evict(std::function<bool()> evict) { evict_ = std::move(evict); }

  // Before a connection is opened that no application waits for: full jitter, so that the clones of
  // a snapshot don't come together. False: `timer` was cancelled, or the machine was cloned
  // meanwhile, and it has to be waited for anew.
  Awaitable<bool> wait_for_spread(boost::asio::steady_timer& timer) const;

  // The machine may have been cloned: what its parent knew of the upstream is forgotten.
  void turn_generation();

  // A snapshot was announced.
  void park() { gate_.close(Gate::Reason::kParked); }
  void unpark() { gate_.open(Gate::Reason::kParked); }
  // Its image shall hold nothing by which a connection can be made.
  void forget_tickets() { tickets_->forget(); }
  bool parked() const { return gate_.closed(); }

  const UpstreamCounts& counts() const { return counts_; }
  bool breaker_open() const { return breaker_.open(); }
  const Traffic& traffic() const { return traffic_; }

 private:
  using Clock = std::chrono::steady_clock;
  // One who wants a connection, and what he has of it already.
  struct Seeking;
  enum class Turn { kTry, kLookAgain, kGiven, kFail };

  Awaitable<Turn> wait_for_turn(Seeking& seeking);
  Awaitable<Turn> wait_in(Seeking& seeking, Line::Waiter& waiter, Clock::time_point until);
  bool find_place(Seeking& seeking);
  Awaitable<Result<std::unique_ptr<Stream>>> attempt(const Wish& wish,
                                                     const ConnectionLimit::PermitPointer& permit);
  Awaitable<Result<std::unique_ptr<Stream>>> attempt_each(
      const Wish& wish, const ConnectionLimit::PermitPointer& permit);
  Awaitable<Result<std::unique_ptr<Stream>>> attempt_at(
      const Address& address, const Wish& wish, const ConnectionLimit::PermitPointer& permit);
  Awaitable<Result<std::vector<Endpoint>>> resolve(const Address& address);
  Awaitable<Result<std::unique_ptr<Stream>>> connect_to(
      const Address& address, const Endpoint& endpoint, std::string_view preface,
      const ConnectionLimit::PermitPointer& permit, const TlsContext* tls);
  std::vector<std::size_t> order() const;
  Awaitable<Result<OwnPorts::Hold>> open(Socket& socket, const Endpoint& endpoint, Guard guard);
  void limit_silence(Socket& socket) const;
  Status prepare(Socket& socket, const Endpoint& endpoint, bool own_port) const;

  Loop& loop_;
  const UpstreamConfig& config_;
  const TlsContext* const tls_;
  const RequestTls request_tls_;
  const std::shared_ptr<OwnPorts> own_ports_;
  boost::asio::ip::tcp::resolver resolver_;
  Gate gate_;
  UpstreamCounts counts_;
  Traffic traffic_;
  Fence::Epoch epoch_ = 0;
  // Of its connections: a clone must not use again what its parent did.
  std::set<std::uint16_t> ports_;
  std::set<std::uint16_t> earlier_ports_;
  const std::shared_ptr<Tickets> tickets_;
  std::vector<bool> down_;
  ConnectionLimit limit_;
  std::function<bool()> evict_;
  Breaker breaker_;
  Retries retries_;
  Line retry_line_;
  TokenBucket rate_;
  Line rate_line_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_UPSTREAM_H_
