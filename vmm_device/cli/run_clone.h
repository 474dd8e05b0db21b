#ifndef CLONESAFE_VMM_DEVICE_CLI_RUN_CLONE_H_
#define CLONESAFE_VMM_DEVICE_CLI_RUN_CLONE_H_

#include <functional>
#include <vector>

#include "vmm_device/cli/options.h"
#include "vmm_device/cli/restored_disks.h"
#include "vmm_device/jail/jail.h"
#include "vmm_device/supervisor/supervisor.h"

namespace clonesafe::cli {

// What clones are given beside their snapshot, which their supervisor has no part in.
struct CloneOptions {
  CloneDisks disks;
  std::vector<NetArgument> nets;
  Hold hold;
  bool jail = true;
};

// `clonevm restore`: returns the exit code.
int restore_command(supervisor::RestoreOptions options, const CloneOptions& clones);
// `clonevm fork`: the same with what `take` gives.
int fork_command(supervisor::RestoreOptions options, const CloneOptions& clones,
                 const std::function<Result<supervisor::Taken>()>& take);

// What a clone has from its supervisor's process.
struct CloneParts {
  const jail::Jail* jail = nullptr;  // null: none
  std::vector<block::Disk> disks;    // as the snapshot has them
  const CloneOptions& options;
};

// One clone, from the snapshot to its end: what `clonevm restore` runs in each process it forks.
Result<std::string> run_clone(CloneParts parts, const supervisor::CloneRequest& request,
                              supervisor::CloneEvents& events);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_RUN_CLONE_H_
