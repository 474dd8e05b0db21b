#ifndef CLONESAFE_VMM_DEVICE_SUPERVISOR_METADATA_H_
#define CLONESAFE_VMM_DEVICE_SUPERVISOR_METADATA_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::supervisor {

// What the operator gives each clone: the file `pattern`, with the clone's number for each "%d", or
// one file for all. In order of their numbers, from 1.
//
// What the restore page takes (CLONESAFE_RESTORE_METADATA_MAX) may be any bytes. More than that,
// up to CLONESAFE_HOST_METADATA_MAX, goes to the agent by vsock and must be text that fits a line.
Result<std::vector<std::vector<std::byte>>> read_metadata(const std::filesystem::path& pattern,
                                                          std::uint32_t count);

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_VMM_DEVICE_SUPERVISOR_METADATA_H_
