#ifndef CLONESAFE_GUEST_AGENT_CONTROL_CONTROL_SERVER_H_
#define CLONESAFE_GUEST_AGENT_CONTROL_CONTROL_SERVER_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

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
  // One line without its newline, and a file that goes along with it.
  struct Answer {
    std::string line;
    UniqueFd file = {};
  };
  // Called once, at once or later. After the server's end it does nothing.
  using Reply = std::function<void(Answer)>;
  // One request line without its newline, of a process of `user`.
  using Handler = std::function<void(std::string_view request, uid_t user, Reply reply)>;

  // Replaces a socket that an earlier agent left at `path`.
  static Result<std::unique_ptr<ControlServer>> open(boost::asio::io_context& io,
                                                     const std::string& path, Handler handler);
  ~ControlServer();

 private:
  class Impl;
  explicit ControlServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

// The requests that are known.
struct ControlCommands {
  std::function<std::string()> status;
  std::function<void(uid_t user, ControlServer::Reply reply)> allocate_secret;
};
void answer_request(std::string_view line, uid_t user, const ControlCommands& commands,
                    ControlServer::Reply reply);
// A refusal that a program can tell from others by `code`; empty: by its text alone.
std::string refusal_line(const std::string& why, const std::string& code = {});

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CONTROL_CONTROL_SERVER_H_
