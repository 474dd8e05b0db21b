// upstream: how the proxy reaches what is behind it: names, addresses, source ports, TLS, and when
// to try again.
#ifndef CLONESAFE_PROXY_UPSTREAM_UPSTREAM_H_
#define CLONESAFE_PROXY_UPSTREAM_UPSTREAM_H_

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/config.h"
#include "proxy/core/loop.h"
#include "proxy/core/plain_stream.h"
#include "proxy/core/stream.h"
#include "proxy/core/traffic.h"
#include "proxy/tls/context.h"
#include "proxy/upstream/own_ports.h"
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
           RequestTls request_tls = nullptr, std::shared_ptr<OwnPorts> own_ports = nullptr)
      : loop_(loop),
        config_(config),
        tls_(tls),
        request_tls_(request_tls),
        own_ports_(std::move(own_ports)),
        resolver_(loop.io()) {}

  // Who is at the other end of a connection.
  struct Peer {
    Address address;  // as configured
    Endpoint endpoint;
  };

  // A new connection, in this generation: the first attempt at once, then others until `hold` is
  // over. `preface` is sent first, before TLS. An error names the addresses that were tried last,
  // and why. `peer`, if given, is then who was reached. While it is parked nothing is opened, and
  // no time passes. `destination`, if given, is gone to, and not to a configured address.
  Awaitable<Result<std::unique_ptr<Stream>>> connect(std::chrono::milliseconds hold,
                                                     std::string_view preface = {},
                                                     Peer* peer = nullptr,
                                                     const Address* destination = nullptr);
  // One attempt, at somebody who was reached before.
  Awaitable<Result<std::unique_ptr<Stream>>> connect_again(const Peer& peer,
                                                           std::string_view preface = {});

  // A snapshot was announced.
  void park() { gate_.close(Gate::Reason::kParked); }
  void unpark() { gate_.open(Gate::Reason::kParked); }

  const UpstreamCounts& counts() const { return counts_; }
  const Traffic& traffic() const { return traffic_; }

 private:
  Awaitable<Result<std::unique_ptr<Stream>>> attempt(std::span<const Address> addresses,
                                                     std::string_view preface, Peer* peer);
  Awaitable<Result<std::vector<Endpoint>>> resolve(const Address& address);
  Awaitable<Result<std::unique_ptr<Stream>>> connect_to(const Address& address,
                                                        const Endpoint& endpoint,
                                                        std::string_view preface);
  Awaitable<Result<OwnPorts::Hold>> open(Socket& socket, const Endpoint& endpoint, Guard guard);
  Status prepare(Socket& socket, const Endpoint& endpoint, bool own_port) const;
  void turn_ports();

  Loop& loop_;
  const UpstreamConfig& config_;
  const TlsContext* const tls_;
  const RequestTls request_tls_;
  const std::shared_ptr<OwnPorts> own_ports_;
  boost::asio::ip::tcp::resolver resolver_;
  Gate gate_;
  UpstreamCounts counts_;
  Traffic traffic_;
  // Of its connections: a clone must not use again what its parent did.
  Fence::Epoch ports_epoch_ = 0;
  std::set<std::uint16_t> ports_;
  std::set<std::uint16_t> earlier_ports_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_UPSTREAM_H_
