#ifndef CLONESAFE_GUEST_AGENT_CONTROL_CONTROL_SERVER_H_
#define CLONESAFE_GUEST_AGENT_CONTROL_CONTROL_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::agent {

// The agent's Unix socket: one JSON request a line, one JSON answer a line
// (docs/protocols/agent.md). Any local user may connect, so everything a client can cause is
// bounded: the number of clients, also per user, the length of a line, and how long a client may
// hold a place without asking.
class ControlServer {
 public:
  // Answers one request line with one line, both without their newline.
  using Answer = std::function<std::string(std::string_view)>;

  // Replaces a socket that an earlier agent left at `path`.
  static Result<std::unique_ptr<ControlServer>> open(boost::asio::io_context& io,
                                                     const std::string& path, Answer answer);
  ~ControlServer();

 private:
  class Impl;
  explicit ControlServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

// The requests that are known. `status` makes the answer to the one there is.
std::string answer_request(std::string_view line, const std::function<std::string()>& status);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CONTROL_CONTROL_SERVER_H_
