#ifndef CLONESAFE_GUEST_AGENT_METRICS_METRICS_SERVER_H_
#define CLONESAFE_GUEST_AGENT_METRICS_METRICS_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::agent {

// Answers `GET /metrics` of HTTP/1.x on a Unix socket, once for each connection. Any local user may
// connect, so everything a client can cause is bounded: the number of clients, also per user, the
// size of a request, and the time that a client has for all of it.
class MetricsServer {
 public:
  using Render = std::function<std::string()>;

  // Replaces a socket that an earlier agent left at `path`.
  static Result<std::unique_ptr<MetricsServer>> open(boost::asio::io_context& io,
                                                     const std::string& path, Render render);
  ~MetricsServer();

 private:
  class Impl;
  explicit MetricsServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

// The whole answer to a request. Only its first line is looked at.
std::string http_answer(std::string_view request, const MetricsServer::Render& render);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_METRICS_METRICS_SERVER_H_
