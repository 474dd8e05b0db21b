// service: what listens, and which sessions there are.
#ifndef CLONESAFE_PROXY_SERVICE_SERVICE_H_
#define CLONESAFE_PROXY_SERVICE_SERVICE_H_

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "libclonesafe/base/unique_fd.h"
#include "proxy/config/config.h"
#include "proxy/core/loop.h"
#include "proxy/session/session.h"
#include "proxy/upstream/upstream.h"

namespace clonesafe::proxy {

// A service's part that all threads share: made before they start, and never changed.
struct ServiceParts {
  ServiceConfig config;
  std::optional<TlsContext> listen_tls;
  std::optional<TlsContext> upstream_tls;
  std::shared_ptr<postgres::Shared> postgres;

  static Result<ServiceParts> make(const ServiceConfig& config);
};

// A service on one thread. What it waits for keeps it alive.
class Service : public std::enable_shared_from_this<Service> {
 public:
  Service(Loop& loop, const ServiceParts& parts);
  ~Service();

  // Listening sockets of its own (SO_REUSEPORT), or a copy of a Unix socket's.
  Status listen(std::vector<UniqueFd> sockets);
  void stop_listening();

  // Abandons what is stale, a number of sessions at a time, so that requests that wait are served
  // first.
  void fence();
  void look(std::chrono::steady_clock::time_point now);
  void reset_all();

  const ServiceParts& parts() const { return parts_; }
  ServiceCounts counts() const {
    ServiceCounts all = host_.counts;
    all.fenced += pool_.fenced();
    return all;
  }
  std::size_t session_count() const { return host_.sessions.size(); }

 private:
  using Acceptor = boost::asio::basic_socket_acceptor<boost::asio::generic::stream_protocol>;
  Awaitable<void> accept(std::shared_ptr<Service> self, Acceptor& acceptor);
  Awaitable<void> serve(std::shared_ptr<Service> kept, Socket socket, Endpoint from);
  Awaitable<Result<std::unique_ptr<Stream>>> greet(Socket socket, Ends& ends);
  bool is_trusted(const Endpoint& peer) const;
  void fence_some(std::vector<Session*> all);

  Loop& loop_;
  const ServiceParts& parts_;
  Upstream upstream_;
  Pool pool_;
  SessionHost host_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
};

// A socket that listens at the address; for TCP one of several that do.
Result<UniqueFd> listen_at(const Address& address);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SERVICE_SERVICE_H_
