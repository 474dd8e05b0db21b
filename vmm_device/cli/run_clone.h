#ifndef CLONESAFE_VMM_DEVICE_CLI_RUN_CLONE_H_
#define CLONESAFE_VMM_DEVICE_CLI_RUN_CLONE_H_

#include <functional>

#include "vmm_device/jail/jail.h"
#include "vmm_device/supervisor/supervisor.h"

namespace clonesafe::cli {

// `clonevm restore`: returns the exit code.
int restore_command(supervisor::RestoreOptions options, bool with_jail);
// `clonevm fork`: the same with what `take` gives.
int fork_command(supervisor::RestoreOptions options, bool with_jail,
                 const std::function<Result<supervisor::Taken>()>& take);

// One clone, from the snapshot to its end: what `clonevm restore` runs in each process it forks.
// `jail` may be null.
Result<std::string> run_clone(const jail::Jail* jail, const supervisor::CloneRequest& request,
                              supervisor::CloneEvents& events);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_RUN_CLONE_H_
