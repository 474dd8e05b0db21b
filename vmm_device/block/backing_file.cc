#include "vmm_device/block/backing_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace clonesafe::block {
namespace {

// What the kernel takes in one call.
constexpr std::size_t kMaxBuffers = 1024;
alignas(4096) constexpr std::array<std::byte, 65536> kZeros{};

Status lock_file(int fd, const std::string& name, Lock how) {
  struct flock lock{};
  lock.l_type = how == Lock::kExclusive ? F_WRLCK : F_RDLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
  if (errno == EAGAIN || errno == EACCES)
    return fail(name + (how == Lock::kExclusive ? ": in use by another process"
                                                : ": being written by another process"));
  return fail_errno(name + ": lock");
}

// Drops what was transferred.
void advance(Buffers& buffers, std::size_t& first, std::size_t done) {
  while (done > 0) {
    iovec& part = buffers[first];
    const std::size_t taken = std::min(done, part.iov_len);
    part.iov_base = static_cast<char*>(part.iov_base) + taken;
    part.iov_len -= taken;
    done -= taken;
    if (part.iov_len == 0) ++first;
  }
}

}  // namespace

Buffers part_of(std::span<const iovec> buffers, std::uint64_t offset, std::uint64_t size) {
  Buffers part;
  for (const iovec& buffer : buffers) {
    if (size == 0) break;
    if (offset >= buffer.iov_len) {
      offset -= buffer.iov_len;
      continue;
    }
    const std::uint64_t count = std::min<std::uint64_t>(size, buffer.iov_len - offset);
    part.push_back({static_cast<char*>(buffer.iov_base) + offset, count});
    size -= count;
    offset = 0;
  }
  return part;
}

std::uint64_t total_size(std::span<const iovec> buffers) {
  std::uint64_t size = 0;
  for (const iovec& buffer : buffers) size += buffer.iov_len;
  return size;
}

Result<BackingFile> BackingFile::open(const std::string& path, Lock lock) {
  const int access = lock == Lock::kExclusive ? O_RDWR : O_RDONLY;
  UniqueFd fd(::open(path.c_str(), access | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return fail_errno(path);
  return adopt(std::move(fd), path, lock);
}

Result<BackingFile> BackingFile::adopt(UniqueFd fd, std::string name, Lock lock) {
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail_errno(name + ": fstat");
  auto size = static_cast<std::uint64_t>(status.st_size);
  if (S_ISBLK(status.st_mode)) {
    if (::ioctl(fd.get(), BLKGETSIZE64, &size) != 0) return fail_errno(name + ": size");
  } else if (!S_ISREG(status.st_mode)) {
    return fail(name + ": neither a regular file nor a block device");
  }
  if (auto locked = lock_file(fd.get(), name, lock); !locked) return fail(locked.error());
  BackingFile file(std::move(fd), std::move(name), size);
  file.is_device_ = S_ISBLK(status.st_mode);
  return file;
}

template <typename Call>
Status BackingFile::transfer(Buffers buffers, std::uint64_t offset, const char* what,
                             Call call) const {
  for (std::size_t first = 0; first < buffers.size();) {
    const auto count = static_cast<int>(std::min(buffers.size() - first, kMaxBuffers));
    const ssize_t done = call(buffers.data() + first, count, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail_errno(name_ + ", offset " + std::to_string(offset) + ": " + what);
    if (done == 0) return fail(name_ + ": ends at offset " + std::to_string(offset));
    offset += static_cast<std::uint64_t>(done);
    advance(buffers, first, static_cast<std::size_t>(done));
  }
  return {};
}

Status BackingFile::check_length() const {
  if (is_device_) return {};
  struct stat status{};
  if (::fstat(fd_.get(), &status) != 0) return fail_errno(name_ + ": fstat");
  if (static_cast<std::uint64_t>(status.st_size) < size_)
    return fail(name_ + ": was cut to " + std::to_string(status.st_size) + " of its " +
                std::to_string(size_) + " bytes");
  return {};
}

Status BackingFile::read(std::span<const iovec> buffers, std::uint64_t offset) const {
  return transfer({buffers.begin(), buffers.end()}, offset, "read",
                  [this](const iovec* parts, int count, off_t at) {
                    return ::preadv(fd_.get(), parts, count, at);
                  });
}

Status BackingFile::write(std::span<const iovec> buffers, std::uint64_t offset) const {
  if (auto whole = check_length(); !whole) return whole;
  return transfer({buffers.begin(), buffers.end()}, offset, "write",
                  [this](const iovec* parts, int count, off_t at) {
                    return ::pwritev(fd_.get(), parts, count, at);
                  });
}

Status BackingFile::write_zeroes(std::uint64_t offset, std::uint64_t size) const {
  if (size == 0) return {};
  if (auto whole = check_length(); !whole) return whole;
  if (::fallocate(fd_.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(size)) == 0)
    return {};
  if (errno != EOPNOTSUPP && errno != EINTR)
    return fail_errno(name_ + ", offset " + std::to_string(offset) + ": zeroing");
  while (size > 0) {
    const std::uint64_t count = std::min<std::uint64_t>(size, kZeros.size());
    const iovec zeros{const_cast<std::byte*>(kZeros.data()), count};
    if (auto written = write({&zeros, 1}, offset); !written) return written;
    offset += count;
    size -= count;
  }
  return {};
}

Status BackingFile::punch(std::uint64_t offset, std::uint64_t size) const {
  if (size == 0) return {};
  if (auto whole = check_length(); !whole) return whole;
  if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(size)) == 0)
    return {};
  return write_zeroes(offset, size);
}

Status BackingFile::sync() {
  if (sync_failed_) return fail(*sync_failed_);
  if (auto whole = check_length(); !whole) return whole;
  if (::fdatasync(fd_.get()) == 0) return {};
  sync_failed_ = Error::from_errno(name_ + ": sync");
  return fail(*sync_failed_);
}

}  // namespace clonesafe::block
