#ifndef CLONESAFE_GUEST_AGENT_HELPER_TRIM_MEMORY_H_
#define CLONESAFE_GUEST_AGENT_HELPER_TRIM_MEMORY_H_

#include <functional>
#include <string>

#include "guest_agent/helper/messages.h"

namespace clonesafe::agent {

// Where the kernel is asked.
struct TrimPaths {
  std::string meminfo = "/proc/meminfo";
  std::string drop_caches = "/proc/sys/vm/drop_caches";
  std::string reclaim = "/sys/module/damon_reclaim/parameters";
};

// Reports each step with what it gave back. `report` says false when no more is wanted;
// `wait` sleeps, and says the same.
void trim_memory(const TrimMemory& trim, const TrimPaths& paths,
                 const std::function<bool(RepairResult)>& report,
                 const std::function<bool(std::chrono::milliseconds)>& wait);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_HELPER_TRIM_MEMORY_H_
