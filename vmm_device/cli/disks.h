#ifndef CLONESAFE_VMM_DEVICE_CLI_DISKS_H_
#define CLONESAFE_VMM_DEVICE_CLI_DISKS_H_

#include <span>
#include <vector>

#include "vmm_device/block/disk.h"
#include "vmm_device/cli/options.h"
#include "vmm_device/machine/machine_config.h"

namespace clonesafe::cli {

// Opens and locks the disks of `clonevm run`, while their files can be named, and makes layers that
// are not there yet. `configs` gets what the machine's configuration says of them.
Result<std::vector<block::Disk>> open_disks(std::span<const DiskArgument> arguments,
                                            std::vector<DiskConfig>& configs);

// As a machine in another directory, or a snapshot, names it.
Result<std::string> absolute_path(const std::filesystem::path& file);

// A file that has no name, and is gone with its last descriptor, in a directory.
Result<UniqueFd> unnamed_file(const std::filesystem::path& directory);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_DISKS_H_
