#ifndef CLONESAFE_GUEST_AGENT_CORE_FAILURE_POLICY_H_
#define CLONESAFE_GUEST_AGENT_CORE_FAILURE_POLICY_H_

#include <cstdint>

namespace clonesafe::agent {

// What becomes of a restored machine that can't be repaired. At boot it goes on in any case.
enum class FailurePolicy : std::uint8_t {
  kContinue,  // it runs, and says that it is degraded
  kHold,      // its workload stands still until every repair has succeeded
  kPowerOff   // it is powered off
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CORE_FAILURE_POLICY_H_
