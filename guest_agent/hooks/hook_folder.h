#ifndef CLONESAFE_GUEST_AGENT_HOOKS_HOOK_FOLDER_H_
#define CLONESAFE_GUEST_AGENT_HOOKS_HOOK_FOLDER_H_

#include <string>
#include <vector>

#include "guest_agent/hooks/hooks.h"
#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// A program in FOLDER/before-snapshot or FOLDER/after-restore.
struct HookProgram {
  std::string name;
  std::string path;
  std::string refused;  // why it is not run; empty: it is
};

// The programs of one phase in the order of their names; before a snapshot in the reverse of it.
// None if the folder is missing. Names that run-parts(8) would pass over (a dot, a '~' in it) are
// passed over. The agent runs these with its rights, so whoever else could put one there, or change
// it, is an error (the folder) or makes `refused` (a file): only root and the agent's own user may.
Result<std::vector<HookProgram>> list_hook_programs(const std::string& folder, HookPhase phase);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_HOOKS_HOOK_FOLDER_H_
