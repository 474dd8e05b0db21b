// control: how the agent talks to its host (vsock) and to the programs of its guest (a Unix
// socket).
#ifndef CLONESAFE_GUEST_AGENT_CONTROL_HOST_CHANNEL_H_
#define CLONESAFE_GUEST_AGENT_CONTROL_HOST_CHANNEL_H_

#include <functional>
#include <memory>
#include <string>

#include "guest_agent/config/config.h"
#include "guest_agent/control/host_messages.h"
#include "guest_agent/core/agent.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::agent {

// Keeps one connection to the host, and makes a new one at once when it breaks: a restore resets
// every vsock connection, and that reset is a wake. A host that isn't there, or one that says what
// the protocol doesn't allow, is tried again with growing pauses.
class HostChannel : public HostLink {
 public:
  struct Handlers {
    std::function<void(const HostMessage&)> said;
    std::function<void()> lost;
  };

  HostChannel(boost::asio::io_context& io, const Config::Host& address, std::string hello);
  ~HostChannel() override;
  // Begins to connect. The handlers are called from the event loop only.
  void start(Handlers handlers);

  void send(std::string line) override;
  // Whether a restore would break a connection that is there now.
  bool wakes() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CONTROL_HOST_CHANNEL_H_
