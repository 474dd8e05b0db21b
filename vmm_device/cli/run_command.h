#ifndef CLONESAFE_VMM_DEVICE_CLI_RUN_COMMAND_H_
#define CLONESAFE_VMM_DEVICE_CLI_RUN_COMMAND_H_

#include <filesystem>
#include <string>
#include <vector>

#include "vmm_device/cli/options.h"
#include "vmm_device/machine/machine.h"

namespace clonesafe::cli {

struct RunOptions {
  std::filesystem::path kernel;
  std::filesystem::path initrd;  // empty: none
  std::string command_line;
  std::string serial = "stdio";
  std::vector<DiskArgument> disks;
  std::vector<NetArgument> nets;
  Hold hold;
  std::filesystem::path vsock;  // host end of the vsock device
  std::filesystem::path api;    // empty: none
  bool track_dirty = false;
  MachineConfig machine;
  bool jail = true;
  std::filesystem::path cgroup;  // empty: stays where it is
};

// `clonevm run`: boots a kernel and runs it until it ends. Returns the exit code.
int run_command(const RunOptions& options);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_RUN_COMMAND_H_
