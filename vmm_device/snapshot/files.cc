#include "vmm_device/snapshot/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/format.h"

namespace clonesafe::snapshot {

Result<UniqueFd> open_file(int directory, const char* file, const std::string& name) {
  UniqueFd fd(::openat(directory, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (!fd) return fail_errno(name);
  struct stat status = {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno(name + ": fstat");
  if (!S_ISREG(status.st_mode)) return fail(name + ": not a regular file");
  return fd;
}

Result<std::uint64_t> file_size(int fd, const std::string& name) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0) return fail_errno(name + ": fstat");
  return static_cast<std::uint64_t>(status.st_size);
}

Result<UniqueFd> open_directory(const std::filesystem::path& directory) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno(directory.string());
  return fd;
}

Status read_exactly(int fd, std::span<std::byte> bytes, std::uint64_t offset,
                    const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(name + ", offset " + std::to_string(offset) + ": read");
    if (got == 0) return fail(name + ": ends at offset " + std::to_string(offset));
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return {};
}

Status write_exactly(int fd, std::span<const std::byte> bytes, std::uint64_t offset,
                     const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno(name + ", offset " + std::to_string(offset) + ": write");
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return {};
}

Result<std::uint64_t> write_nonzero_pages(int fd, std::span<const std::byte> bytes,
                                          std::uint64_t offset, const std::string& name) {
  std::uint64_t written = 0;
  std::size_t position = 0;
  const auto page = [&](std::size_t at) {
    return bytes.subspan(at, std::min<std::size_t>(format::kPageSize, bytes.size() - at));
  };
  while (position < bytes.size()) {
    if (all_zero(page(position))) {
      position += page(position).size();
      continue;
    }
    std::size_t end = position;
    while (end < bytes.size() && !all_zero(page(end))) end += page(end).size();
    const auto run = bytes.subspan(position, end - position);
    if (auto status = write_exactly(fd, run, offset + position, name); !status)
      return fail(std::move(status).error());
    written += run.size();
    position = end;
  }
  return written;
}

}  // namespace clonesafe::snapshot
