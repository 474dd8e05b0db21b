// Writers to a disk, each in a part of its own, past the page cache. Each block says which write it
// is of, so that one that is lost, or done again later, is seen.
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <vector>

#include "libclonesafe/base/unique_fd.h"
#include "tests/lab/nested/motion.h"

namespace clonesafe::lab {
namespace {

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kWords = kBlock / sizeof(std::uint64_t);
constexpr std::size_t kMostBlocks = 8;  // of one request

class Writer {
 public:
  Writer(Motion& motion, int disk, int writer, std::size_t first, std::size_t blocks)
      : motion_(motion),
        disk_(disk),
        writer_(writer),
        first_(first),
        written_(blocks),
        random_(static_cast<unsigned>(writer)) {
    // Direct reads and writes want it aligned.
    buffer_ = static_cast<std::uint64_t*>(std::aligned_alloc(kBlock, kMostBlocks * kBlock));
  }

  void run() {
    while (!motion_.settle) {
      const std::size_t block = random_() % written_.size();
      const std::size_t blocks = 1 + random_() % std::min(kMostBlocks, written_.size() - block);
      switch (const auto kind = random_() % 32) {
        case 0:
          sync();
          break;
        case 1:
        case 2:
          clear(block, blocks, kind == 1 ? BLKDISCARD : BLKZEROOUT);
          break;
        default:
          if (kind < 12)
            check(block, blocks);
          else
            write(block, blocks);
      }
      // Others' turn: it is the moments that count, not the speed.
      ::poll(nullptr, 0, static_cast<int>(random_() % 30));
    }
    for (std::size_t block = 0; block < written_.size(); block += kMostBlocks)
      check(block, std::min(kMostBlocks, written_.size() - block));
    sync();
  }

 private:
  off_t offset(std::size_t block) const { return static_cast<off_t>((first_ + block) * kBlock); }
  void expect(bool right, const char* what) {
    if (!right) found_wrong(motion_.beats, what, 0, static_cast<std::uint64_t>(errno));
  }
  void sync() {
    expect(::fdatasync(disk_) == 0, "fdatasync");
    motion_.syncs.fetch_add(1);
  }
  // The word of a block that was written as `sequence`; nobody wrote 0.
  std::uint64_t word(std::size_t block, std::uint64_t sequence, std::size_t index) const {
    if (sequence == 0) return 0;
    if (index == 0) return sequence;
    return mixed(first_ + block + (sequence << 20), index);
  }

  void write(std::size_t block, std::size_t blocks) {
    ++sequence_;
    for (std::size_t i = 0; i < blocks; ++i) {
      written_[block + i] = sequence_;
      for (std::size_t index = 0; index < kWords; ++index)
        buffer_[i * kWords + index] = word(block + i, sequence_, index);
    }
    const auto size = static_cast<ssize_t>(blocks * kBlock);
    expect(::pwrite(disk_, buffer_, static_cast<std::size_t>(size), offset(block)) == size,
           "pwrite");
    motion_.writes[writer_].fetch_add(1);
  }

  void clear(std::size_t block, std::size_t blocks, unsigned long how) {
    std::uint64_t range[2] = {static_cast<std::uint64_t>(offset(block)), blocks * kBlock};
    expect(::ioctl(disk_, how, range) == 0, "discard");
    for (std::size_t i = 0; i < blocks; ++i) written_[block + i] = 0;
  }

  void check(std::size_t block, std::size_t blocks) {
    const auto size = static_cast<ssize_t>(blocks * kBlock);
    expect(::pread(disk_, buffer_, static_cast<std::size_t>(size), offset(block)) == size, "pread");
    for (std::size_t i = 0; i < blocks; ++i) {
      for (std::size_t index = 0; index < kWords; ++index) {
        const std::uint64_t expected = word(block + i, written_[block + i], index);
        const std::uint64_t found = buffer_[i * kWords + index];
        if (found != expected)
          return found_wrong(motion_.beats, index == 0 ? "block's sequence" : "block's data",
                             expected, found);
      }
    }
    motion_.reads[writer_].fetch_add(1);
  }

  Motion& motion_;
  const int disk_;
  const int writer_;
  const std::size_t first_;
  std::vector<std::uint64_t> written_;  // each block's last sequence
  std::uint64_t sequence_ = 0;
  std::minstd_rand random_;
  std::uint64_t* buffer_;
};

}  // namespace

void keep_disk(Motion& motion, const char* disk, int writer) {
  const UniqueFd fd(::open(disk, O_RDWR | O_DIRECT | O_CLOEXEC));
  std::uint64_t size = 0;
  if (!fd || ::ioctl(fd.get(), BLKGETSIZE64, &size) != 0)
    return found_wrong(motion.beats, disk, 0, static_cast<std::uint64_t>(errno));
  const std::size_t blocks = static_cast<std::size_t>(size) / kBlock / kDiskWriters;
  Writer(motion, fd.get(), writer, static_cast<std::size_t>(writer) * blocks, blocks).run();
  motion.settled_writers.fetch_add(1);
}

}  // namespace clonesafe::lab
