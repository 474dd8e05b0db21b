#ifndef CLONESAFE_VMM_DEVICE_CLI_RUN_CLONE_H_
#define CLONESAFE_VMM_DEVICE_CLI_RUN_CLONE_H_

#include "vmm_device/supervisor/clone_process.h"

namespace clonesafe::cli {

// One clone, from the snapshot to its end: what `clonevm restore` runs in each process it forks.
Result<std::string> run_clone(const supervisor::CloneRequest& request,
                              supervisor::CloneEvents& events);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_RUN_CLONE_H_
