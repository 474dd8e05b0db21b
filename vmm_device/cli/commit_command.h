#ifndef CLONESAFE_VMM_DEVICE_CLI_COMMIT_COMMAND_H_
#define CLONESAFE_VMM_DEVICE_CLI_COMMIT_COMMAND_H_

#include "vmm_device/block/commit.h"

namespace clonesafe::cli {

// `clonevm commit`: merges a disk's layer and its image. Returns the exit code.
int commit_command(const block::CommitRequest& request);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_COMMIT_COMMAND_H_
