#ifndef CLONESAFE_GUEST_AGENT_CONTROL_CONTROL_SERVER_H_
#define CLONESAFE_GUEST_AGENT_CONTROL_CONTROL_SERVER_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "guest_agent/hooks/watchers.h"
#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::agent {

// A connected program, as requests see it.
class ControlClient {
 public:
  ControlClient() = default;
  virtual ~ControlClient() = default;
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;

  virtual uid_t user() const = 0;
  virtual pid_t pid() const = 0;
  // Whether it may make the agent do something: root, the agent's own user, the group that is
  // configured.
  virtual bool may_drive() const = 0;
  // From now on it may be silent; `ended` is called when its connection ends.
  virtual void keep(std::function<void()> ended) = 0;
  // Sends a line that it did not ask for. One that doesn't read its lines is dropped.
  virtual void push(std::string line) = 0;

  std::uint64_t watcher = 0;  // its id among the watchers; 0: it is none
};

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
  using Client = std::shared_ptr<ControlClient>;
  // One request line without its newline.
  using Handler = std::function<void(std::string_view request, const Client& client, Reply reply)>;

  // Replaces a socket that an earlier agent left at `path`. Members of `group` may drive; empty, or
  // no group of this machine: root alone.
  static Result<std::unique_ptr<ControlServer>> open(boost::asio::io_context& io,
                                                     const std::string& path,
                                                     const std::string& group, Handler handler);
  ~ControlServer();

 private:
  class Impl;
  explicit ControlServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

// What the requests that are known do.
struct ControlCommands {
  std::function<std::string()> status;
  std::function<void(uid_t user, ControlServer::Reply reply)> allocate_secret;
  std::function<void(std::chrono::milliseconds deadline, ControlServer::Reply reply)> prepare;
  std::function<std::string()> resume;
  std::function<std::string()> hooks;
  Watchers& watchers;
};
void answer_request(std::string_view line, const ControlServer::Client& client,
                    const ControlCommands& commands, const ControlServer::Reply& reply);
// A refusal that a program can tell from others by `code`; empty: by its text alone.
std::string refusal_line(const std::string& why, const std::string& code = {});

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CONTROL_CONTROL_SERVER_H_
