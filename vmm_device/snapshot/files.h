#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_FILES_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_FILES_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

// The system calls of reading and writing snapshot files, whole or with an error.
namespace clonesafe::snapshot {

// A regular file in `directory`, read-only. Never follows a link and never waits, whatever lies
// there; `name` is what errors call it.
Result<UniqueFd> open_file(int directory, const char* file, const std::string& name);
Result<std::uint64_t> file_size(int fd, const std::string& name);
Result<UniqueFd> open_directory(const std::filesystem::path& directory);

// The bytes at `offset`; fewer are an error.
Status read_exactly(int fd, std::span<std::byte> bytes, std::uint64_t offset,
                    const std::string& name);
Status write_exactly(int fd, std::span<const std::byte> bytes, std::uint64_t offset,
                     const std::string& name);
// Writes the pages of `bytes` that hold something else than zeros; returns how many bytes that was.
// The file must have holes or zeros there.
Result<std::uint64_t> write_nonzero_pages(int fd, std::span<const std::byte> bytes,
                                          std::uint64_t offset, const std::string& name);

// A memfd for guest memory, of zeros; and the seal that lets nobody change it any more.
Result<UniqueFd> make_memory(std::uint64_t size);
Status seal_memory(int memory);

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_FILES_H_
