#ifndef CLONESAFE_GUEST_AGENT_HOOKS_MEMORY_TRIM_H_
#define CLONESAFE_GUEST_AGENT_HOOKS_MEMORY_TRIM_H_

#include "guest_agent/helper/helper_client.h"
#include "guest_agent/hooks/hooks.h"

namespace clonesafe::agent {

// The last thing before a snapshot, when the workload stands still: memory is given back by the
// helper process.
class MemoryTrim final : public Hooks {
 public:
  MemoryTrim(HelperClient& helper, TrimMemory trim) : helper_(helper), trim_(trim) {}

  bool any(const HookEvent& event) override {
    return event.phase == HookPhase::kBeforeSnapshot &&
           (trim_.drop_caches || trim_.reclaim.count() > 0);
  }
  void run(const HookEvent&, Done done) override { helper_.run(trim_, std::move(done)); }
  void cancel() override { helper_.cancel(); }

 private:
  HelperClient& helper_;
  const TrimMemory trim_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_HOOKS_MEMORY_TRIM_H_
