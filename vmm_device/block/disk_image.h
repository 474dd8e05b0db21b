#ifndef CLONESAFE_VMM_DEVICE_BLOCK_DISK_IMAGE_H_
#define CLONESAFE_VMM_DEVICE_BLOCK_DISK_IMAGE_H_

#include <array>
#include <compare>
#include <cstdint>
#include <string>

#include "vmm_device/block/backing_file.h"

namespace clonesafe::block {

inline constexpr std::uint64_t kSectorSize = 512;

// What tells an image from another one, and from itself after it was written: its length, when it
// was written last, and SHA-256 of its first 64 KiB, where partition tables and the superblocks of
// most file systems are. A snapshot or a layer from a stranger names a file only together with
// these, so it can't make a disk of one whose contents the stranger doesn't know.
struct ImageIdentity {
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;  // 0 for a block device, which has no such time
  std::array<std::byte, 32> head{};
  bool operator==(const ImageIdentity&) const = default;
};

// A copy of an image was written when it was copied: only length and contents are the same.
enum class Match { kUnwritten, kCopy };
bool matches(const ImageIdentity& expected, const ImageIdentity& found, Match match);
// What differs, for an error: "written since", "another length" or "other contents".
std::string difference(const ImageIdentity& expected, const ImageIdentity& found);

// A raw disk image: a file or block device of whole sectors.
class DiskImage {
 public:
  static Result<DiskImage> open(const std::string& path, Lock lock);

  const BackingFile& file() const { return file_; }
  BackingFile& file() { return file_; }
  std::uint64_t size() const { return file_.size(); }
  // As it is now. What was written must have been synced.
  Result<ImageIdentity> identity() const;

 private:
  explicit DiskImage(BackingFile file) : file_(std::move(file)) {}
  BackingFile file_;
};

}  // namespace clonesafe::block

#endif  // CLONESAFE_VMM_DEVICE_BLOCK_DISK_IMAGE_H_
