// What the agent does with a machine that it can't repair.
#include <utility>

#include "guest_agent/base/log.h"
#include "guest_agent/core/agent.h"

namespace clonesafe::agent {
namespace {

// So that the host has the report first.
constexpr std::chrono::milliseconds kBeforePowerOff{200};

}  // namespace

// Whether it was frozen for a snapshot or not.
void Agent::hold_workload() {
  log_error("a repair failed: the workload stands still until it succeeds");
  preparation_.reset();
  if (std::exchange(hooks_running_, false)) parts_.hooks->cancel();
  if (std::exchange(trimming_, false)) parts_.trim->cancel();
  if (parts_.freezer.held()) return;
  if (auto frozen = parts_.freezer.freeze(); !frozen) log_error(frozen.error().message());
}

// The repairs have succeeded after all.
void Agent::let_go() {
  held_ = false;
  thaw(results_);
  retrying_ = false;
  const bool hooks = any_hooks({.phase = HookPhase::kAfterRestore,
                                .cause = std::string(name_of(owed_.value_or(kind_))),
                                .restore = current_});
  state_ = hooks ? CLONESAFE_STATE_REPAIRING : CLONESAFE_STATE_SAFE;
  if (!publish(current_, state_)) return check("retry");
  if (hooks) return run_hooks_of_restore();
  owed_.reset();
  settled();
}

void Agent::power_off_later() {
  log_error("not repaired: this machine is powered off");
  parts_.timers.after(kBeforePowerOff, [this, restore = current_.restore_id] {
    if (restore == current_.restore_id && state_ == CLONESAFE_STATE_DEGRADED) parts_.power_off();
  });
}

}  // namespace clonesafe::agent
