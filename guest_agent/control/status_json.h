#ifndef CLONESAFE_GUEST_AGENT_CONTROL_STATUS_JSON_H_
#define CLONESAFE_GUEST_AGENT_CONTROL_STATUS_JSON_H_

#include <string>
#include <vector>

#include "guest_agent/core/agent.h"
#include "guest_agent/hooks/watchers.h"
#include "guest_agent/secrets/secret_store.h"

namespace clonesafe::agent {

// What does not change while the agent runs.
struct AgentFacts {
  std::string version;
  std::string kernel;
  std::string page_path;
  std::vector<SourceReport> sources;
};

// One line of JSON, without its newline (docs/protocols/agent.md).
std::string status_json(const AgentFacts& facts, const AgentStatus& status,
                        const SecretStatus& secrets, bool polls);

// The answer to the request `prepare`.
std::string prepared_json(const Status& outcome, const std::vector<RepairResult>& steps);

// The answer to the request `hooks`: what is there now, in the order in which it would run.
std::string hooks_json(const std::string& folder, const Watchers& watchers);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CONTROL_STATUS_JSON_H_
