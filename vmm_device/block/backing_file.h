#ifndef CLONESAFE_VMM_DEVICE_BLOCK_BACKING_FILE_H_
#define CLONESAFE_VMM_DEVICE_BLOCK_BACKING_FILE_H_

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::block {

// Where the bytes of one transfer lie in memory.
using Buffers = std::vector<iovec>;

// The `size` bytes from `offset` on.
Buffers part_of(std::span<const iovec> buffers, std::uint64_t offset, std::uint64_t size);
std::uint64_t total_size(std::span<const iovec> buffers);

// Who else may have the file open, by an advisory lock (F_OFD_SETLK) that every clonevm takes. It
// belongs to the open file: clones that inherit the descriptor hold it together.
enum class Lock { kShared, kExclusive };

// A file that holds a disk's bytes: each transfer is whole, or an error. Only read and written by
// system calls, never mapped: a file that is cut below us gives an error, not a signal. One that
// became shorter is an error for writes too; they would fill the gap with zeros that nobody wrote.
class BackingFile {
 public:
  BackingFile() = default;
  // `size` is how long the file must stay.
  BackingFile(UniqueFd fd, std::string name, std::uint64_t size)
      : fd_(std::move(fd)), name_(std::move(name)), size_(size) {}

  // A regular file or block device that is opened and locked. Never waits and never follows what
  // only looks like a file.
  static Result<BackingFile> open(const std::string& path, Lock lock);
  // The same for one that is open already: as open(), but by descriptor.
  static Result<BackingFile> adopt(UniqueFd fd, std::string name, Lock lock);

  int fd() const { return fd_.get(); }
  const std::string& name() const { return name_; }
  std::uint64_t size() const { return size_; }
  bool is_device() const { return is_device_; }

  // The buffers' bytes at `offset`.
  Status read(std::span<const iovec> buffers, std::uint64_t offset) const;
  Status write(std::span<const iovec> buffers, std::uint64_t offset) const;
  Status write_zeroes(std::uint64_t offset, std::uint64_t size) const;
  // Zeros that need no room, where the file can have holes; written zeros elsewhere.
  Status punch(std::uint64_t offset, std::uint64_t size) const;
  // Data and what is needed to find it are on the disk. Once that has failed it fails for ever: the
  // kernel drops what it could not write, and would call the next attempt good.
  Status sync();

 private:
  Status check_length() const;
  template <typename Call>
  Status transfer(Buffers buffers, std::uint64_t offset, const char* what, Call call) const;

  UniqueFd fd_;
  std::string name_;
  std::uint64_t size_ = 0;
  bool is_device_ = false;
  std::optional<Error> sync_failed_;
};

}  // namespace clonesafe::block

#endif  // CLONESAFE_VMM_DEVICE_BLOCK_BACKING_FILE_H_
