#ifndef CLONESAFE_GUEST_AGENT_BASE_FILES_H_
#define CLONESAFE_GUEST_AGENT_BASE_FILES_H_

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

inline constexpr std::size_t kDefaultFileLimit = 1U << 20;

// The whole of a file, of at most `limit` bytes.
Result<std::string> read_file(const std::string& path, std::size_t limit = kDefaultFileLimit);

// Writes to a file that is there, as one write: /proc, /sys, and files whose inode must stay.
Status write_in_place(const std::string& path, std::string_view contents);

// Puts a new file in place of `path` by rename, so that no reader sees half of it. Where a rename
// can't be done (the file is a mount point, or its folder is read-only) the file is written in
// place.
Status replace_file(const std::string& path, std::string_view contents, mode_t mode);

// Makes the folder of `path` (0755) if it is missing.
Status make_folder_of(const std::string& path);

// Without white space at either end.
std::string_view trim(std::string_view text);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_BASE_FILES_H_
