#ifndef CLONESAFE_VMM_DEVICE_CLI_MACHINES_H_
#define CLONESAFE_VMM_DEVICE_CLI_MACHINES_H_

#include <filesystem>
#include <vector>

namespace clonesafe::cli {

// Where restores without --run-dir make their directories: $XDG_RUNTIME_DIR, or /tmp.
std::filesystem::path runtime_directory();

// The control sockets in `folder` and two folders deep, as a restore's run directory in it has
// them: Unix sockets of this user named api.sock or *.api. In order of their names. What can't be
// read is left out.
std::vector<std::filesystem::path> control_sockets(const std::filesystem::path& folder);

// `clonevm ps`: a line, or an object, for each machine. Returns the exit code.
int ps_command(const std::filesystem::path& folder, bool json);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_MACHINES_H_
