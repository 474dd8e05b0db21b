#ifndef CLONESAFE_VMM_DEVICE_CLI_FORK_COMMAND_H_
#define CLONESAFE_VMM_DEVICE_CLI_FORK_COMMAND_H_

#include <filesystem>
#include <string>

#include "vmm_device/cli/run_clone.h"
#include "vmm_device/supervisor/supervisor.h"

namespace clonesafe::cli {

struct ForkOptions {
  std::filesystem::path api;
  std::string prepare = "none";
  supervisor::RestoreOptions restore;
  CloneOptions clones;
};

// `clonevm fork`: clones of the machine behind a control socket, which goes on. Returns the exit
// code.
int fork_command(const ForkOptions& options);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_FORK_COMMAND_H_
