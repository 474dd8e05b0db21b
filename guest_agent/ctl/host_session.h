#ifndef CLONESAFE_GUEST_AGENT_CTL_HOST_SESSION_H_
#define CLONESAFE_GUEST_AGENT_CTL_HOST_SESSION_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/agent_channel/agent_channel.h"

namespace clonesafe::ctl {

using Clock = std::chrono::steady_clock;

// Listens for one guest's agent where its VMM sends the guest's connections, for as long as the
// object lives, and talks to the agent.
class HostSession {
 public:
  // A socket that somebody listens on is left alone.
  // `metadata` is for the guest that connects.
  static Result<std::unique_ptr<HostSession>> listen(const std::string& path,
                                                     std::optional<std::string> metadata = {});
  ~HostSession();
  HostSession(const HostSession&) = delete;
  HostSession& operator=(const HostSession&) = delete;

  // What the agent is told that this machine is, from now on. Earlier reports count no more.
  void name_restore(const agent_channel::RestoreId& id, RestoreKind kind);
  // Whether an agent has connected before `end`.
  bool wait_for_agent(Clock::time_point end);
  // The agent's last report of the named restore. With `safe` only a report that says so will do
  // before `end`.
  std::optional<agent_channel::SafeReport> wait_for_report(bool safe, Clock::time_point end);

  // The agent's answer.
  Result<agent_channel::Prepared> prepare(std::string id, std::chrono::milliseconds deadline);
  // Runs a program; the agent is served meanwhile. Its exit code, 128 + n for signal n.
  Result<int> run(const std::vector<std::string>& command);
  // The machine goes on after its snapshot, under a new restore id.
  void resumed(const agent_channel::RestoreId& id);
  void abort(std::string id);

  // Of the agent that is connected, or was last.
  const agent_channel::Hello& agent() const { return agent_; }

 private:
  HostSession(std::string path, std::optional<std::string> metadata)
      : path_(std::move(path)), metadata_(std::move(metadata)) {}
  Status open();
  agent_channel::HostFacts facts() const;
  void accept();
  bool run_until(const std::function<bool()>& done, Clock::time_point end);

  const std::string path_;
  const std::optional<std::string> metadata_;
  boost::asio::io_context io_{1};
  boost::asio::local::stream_protocol::acceptor acceptor_{io_};
  bool bound_ = false;
  bool connected_ = false;
  agent_channel::Hello agent_;
  std::optional<agent_channel::SafeReport> report_;
  // Said again to an agent whose connection ended with the snapshot.
  std::optional<agent_channel::RestoreId> resumed_;
  std::optional<agent_channel::AgentChannel> channel_;
};

}  // namespace clonesafe::ctl

#endif  // CLONESAFE_GUEST_AGENT_CTL_HOST_SESSION_H_
