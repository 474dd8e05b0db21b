// hooks: what stands outside the agent and has a part in a snapshot or a restore: programs, HTTP
// ports, connected watchers.
#ifndef CLONESAFE_GUEST_AGENT_HOOKS_HOOKS_H_
#define CLONESAFE_GUEST_AGENT_HOOKS_HOOKS_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "guest_agent/repairs/repair.h"

namespace clonesafe::agent {

enum class HookPhase : std::uint8_t { kBeforeSnapshot, kAfterRestore };
std::string_view name_of(HookPhase phase);  // "before-snapshot", "after-restore"

// What hooks are told. After a snapshot was announced they hear of its end, whichever it is.
struct HookEvent {
  HookPhase phase = HookPhase::kAfterRestore;
  // "snapshot" before one; then "clone", "move", "resume", or "undone" where none was taken.
  std::string cause;
  Restore restore;
};

// One kind of hooks. Single-threaded; one run at a time.
class Hooks {
 public:
  // One result for each hook.
  using Done = std::function<void(std::vector<RepairResult>)>;

  virtual ~Hooks() = default;
  // Whether `run` would have anything to do.
  virtual bool any(const HookEvent& event) = 0;
  // Runs all of them, whatever comes of one, and then calls `done`: at once or later, never after
  // `cancel`. What a hook may take is bounded by the hooks' own deadlines.
  virtual void run(const HookEvent& event, Done done) = 0;
  // Ends the run, if there is one; programs are killed.
  virtual void cancel() = 0;
};

// Several kinds, one after another: after a restore in order, before a snapshot in reverse.
class HookChain final : public Hooks {
 public:
  void add(Hooks& hooks) { links_.push_back(&hooks); }

  bool any(const HookEvent& event) override;
  void run(const HookEvent& event, Done done) override;
  void cancel() override;

 private:
  void run_next();

  std::vector<Hooks*> links_;
  std::vector<Hooks*> left_;  // the next one last
  HookEvent event_;
  std::vector<RepairResult> results_;
  Done done_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_HOOKS_HOOKS_H_
