#include "guest_agent/hooks/program_hooks.h"

#include "guest_agent/hooks/hook_folder.h"

namespace clonesafe::agent {

bool ProgramHooks::any(const HookEvent& event) {
  if (options_.folder.empty()) return false;
  const auto programs = list_hook_programs(options_.folder, event.phase);
  // What can't be listed is a hook that fails.
  return !programs || !programs->empty();
}

void ProgramHooks::run(const HookEvent& event, Done done) {
  if (!any(event)) return done({});
  const Restore& restore = event.restore;
  helper_.run(RunHooks{.phase = event.phase,
                       .each = options_.each,
                       .all = options_.all,
                       .cause = event.cause,
                       .generation = hex(restore.generation),
                       .reseed_epoch = hex(restore.reseed_epoch),
                       .restore_id = hex(restore.restore_id)},
              std::move(done));
}

void ProgramHooks::cancel() {
  helper_.cancel();
}

}  // namespace clonesafe::agent
