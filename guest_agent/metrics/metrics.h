// metrics: the agent's figures for whoever watches over many machines, on a socket of their own.
#ifndef CLONESAFE_GUEST_AGENT_METRICS_METRICS_H_
#define CLONESAFE_GUEST_AGENT_METRICS_METRICS_H_

#include <cstdint>
#include <map>
#include <string>

#include "guest_agent/control/status_json.h"

namespace clonesafe::agent {

// What has happened to this machine since the agent was started.
class RestoreCounts {
 public:
  explicit RestoreCounts(const AgentStatus& first)
      : restores_(first.restores), generation_(first.restore.generation) {}

  // To be called at each change, before the next.
  void look(const AgentStatus& now);

  std::uint64_t of(RestoreKind kind) const;
  std::uint64_t generation_changes() const { return generation_changes_; }

 private:
  std::uint64_t restores_;
  std::uint64_t generation_;
  std::map<RestoreKind, std::uint64_t> by_kind_;
  std::uint64_t generation_changes_ = 0;
};

// In Prometheus' text format. Any local user may read it: nothing that is secret, no ids, and none
// of what the host or a repair said in words.
std::string metrics_text(const AgentFacts& facts, const AgentStatus& status,
                         const SecretStatus& secrets, const RestoreCounts& counts, bool polls);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_METRICS_METRICS_H_
