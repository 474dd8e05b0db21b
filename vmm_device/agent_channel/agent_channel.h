// agent_channel: the host's end of the protocol with the guest's agent (docs/protocols/host.md).
#ifndef CLONESAFE_VMM_DEVICE_AGENT_CHANNEL_AGENT_CHANNEL_H_
#define CLONESAFE_VMM_DEVICE_AGENT_CHANNEL_AGENT_CHANNEL_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/restore_kind.h"
#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/agent_channel/messages.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::agent_channel {

struct AgentCallbacks {
  // The guest asks for its generation page to be written at each restore. The status is the answer.
  std::function<Status(GuestAddress address, const Nonce& nonce)> on_register_page;
  // The guest gives the whole list of its secret pages. The status is the answer. Empty: the host
  // keeps none out of snapshots, and says so.
  std::function<Status(const std::vector<RegisterPage>& pages)> on_register_secrets;
  // The guest reported for the current restore id. More than one report may come for one id: the
  // last is in force.
  std::function<void(const SafeReport& report)> on_safe;
  // What goes into the welcome of a machine without a restore page. May be empty.
  std::function<HostFacts()> facts;
  // An agent connected and named itself. May be empty.
  std::function<void(const Hello& hello)> on_hello;
  // The agent that on_hello named is connected no more. Comes before the on_hello of one that takes
  // its place. May be empty.
  std::function<void()> on_lost;
};

// Talks with one agent at a time: a new connection takes the place of the old one. A connection
// that breaks the protocol is closed, and the agent may connect again. A report for another restore
// id than the current one is ignored: it was on its way when the id changed.
//
// Every function may be called on any thread and takes effect on the device thread, in the order of
// the calls. Callbacks run there too.
class AgentChannel {
 public:
  using OnPrepared = std::function<void(Result<Prepared> prepared)>;

  // `host` is the name and version that agents are told.
  AgentChannel(boost::asio::io_context& device_thread, std::string host, AgentCallbacks callbacks);
  AgentChannel(const AgentChannel&) = delete;
  AgentChannel& operator=(const AgentChannel&) = delete;
  // No callback is called any more, but for one that is running on the device thread.
  ~AgentChannel();

  // Serves a stream: what VsockDevice::listen() takes for CLONESAFE_HOST_VSOCK_PORT.
  Status accept(UniqueFd stream);

  // The restore that reports must be about. Before the guest runs.
  void set_restore(const RestoreId& restore_id, RestoreKind kind);
  // The source goes on after its snapshot, under a new restore id: as set_restore(), and the agent
  // is told.
  void resumed(const RestoreId& restore_id, RestoreKind kind);

  // Announces a snapshot; `id` has up to 64 bytes. The callback is called once: with the agent's
  // answer, which may be `ok: false`, or with an error if there is no agent, it doesn't answer in
  // time, or it goes away. The caller follows up with resumed() or abort() in the source.
  void prepare(std::string id, std::chrono::milliseconds deadline, OnPrepared callback);
  void abort(std::string id);
  // A secret page is not what was registered: the agent looks after them, and gives its list anew.
  void check_secrets();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace clonesafe::agent_channel

#endif  // CLONESAFE_VMM_DEVICE_AGENT_CHANNEL_AGENT_CHANNEL_H_
