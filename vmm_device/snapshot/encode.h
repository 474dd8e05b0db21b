// Private to this folder: what is kept of a machine, as bytes.
#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_ENCODE_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_ENCODE_H_

#include <optional>

#include "vmm_device/snapshot/format.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

enum class Kept { in_files, in_memory };

// The regions of guest memory laid end to end, as they are in memory.img.
class MemoryImage {
 public:
  static Result<MemoryImage> create(const WriteRequest& request);
  std::uint64_t size() const { return size_; }
  const std::optional<PageSet>& changed() const { return changed_; }
  bool has_any(std::uint64_t offset, std::uint64_t size) const {
    return !changed_ ||
           changed_->contains_any(offset / format::kPageSize, size / format::kPageSize);
  }

  // Copies what the snapshot shall hold at `offset`: the guest's bytes; zeros where asked for, and
  // in pages that an incremental one doesn't have.
  void copy(std::uint64_t offset, std::span<std::byte> to) const;

  Section memory_map() const;

 private:
  struct Placed {
    GuestMemory::Region region;
    std::uint64_t offset;
  };
  struct Range {
    std::uint64_t first;
    std::uint64_t last;
  };

  Result<std::uint64_t> offset_of(const ZeroRange& range) const;

  std::vector<Placed> regions_;
  std::vector<Range> zeros_;
  std::uint64_t size_ = 0;
  std::optional<PageSet> changed_;
};

// The bytes of state.csn. Kept in memory, there are no chunk digests.
Result<std::vector<std::byte>> encode_state(const WriteRequest& request, const MemoryImage& image,
                                            std::span<const AttachedFile> attached,
                                            std::vector<std::byte> chunk_digests, Kept kept);

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_ENCODE_H_
