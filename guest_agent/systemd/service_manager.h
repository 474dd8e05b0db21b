#ifndef CLONESAFE_GUEST_AGENT_SYSTEMD_SERVICE_MANAGER_H_
#define CLONESAFE_GUEST_AGENT_SYSTEMD_SERVICE_MANAGER_H_

#include <string>

#include "guest_agent/core/agent.h"

namespace clonesafe::agent {

// Tells the service manager how the agent is. Without one (no NOTIFY_SOCKET) nothing happens.
class ServiceManager {
 public:
  // The machine was looked at and repaired, and the control socket listens.
  void ready(const AgentStatus& status);
  // Says so if it is not what was said last.
  void changed(const AgentStatus& status);
  void stopping();

 private:
  std::string told_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SYSTEMD_SERVICE_MANAGER_H_
