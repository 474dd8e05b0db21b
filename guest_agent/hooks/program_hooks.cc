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
  helper_.run(
      RunHooks{
          .folder = options_.folder,
          .phase = event.phase,
          .each = options_.each,
          .all = options_.all,
          .environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                          "LANG=C.UTF-8", "CLONESAFE_PHASE=" + std::string(name_of(event.phase)),
                          "CLONESAFE_CAUSE=" + event.cause,
                          "CLONESAFE_GENERATION=" + hex(restore.generation),
                          "CLONESAFE_RESEED_EPOCH=" + hex(restore.reseed_epoch),
                          "CLONESAFE_RESTORE_ID=" + hex(restore.restore_id)}},
      std::move(done));
}

void ProgramHooks::cancel() {
  helper_.cancel();
}

}  // namespace clonesafe::agent
