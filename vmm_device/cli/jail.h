#ifndef CLONESAFE_VMM_DEVICE_CLI_JAIL_H_
#define CLONESAFE_VMM_DEVICE_CLI_JAIL_H_

#include <filesystem>
#include <memory>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/jail/jail.h"

namespace clonesafe::cli {

// The jail of the machines that this command runs; nothing, said loudly, with --no-jail.
Result<std::unique_ptr<jail::Jail>> make_jail(bool wanted);

// The deepest directory that all of these files, which may not exist yet, are in; empty for none.
Result<std::filesystem::path> common_folder(const std::vector<std::filesystem::path>& files);

// Enters the directory that becomes the machine's root: the one that its sockets are in, or one
// with nothing in it. The paths are relative to it afterwards; empty ones stay so.
Status enter_root(std::vector<std::filesystem::path*> sockets);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_JAIL_H_
