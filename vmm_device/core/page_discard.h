#ifndef CLONESAFE_VMM_DEVICE_CORE_PAGE_DISCARD_H_
#define CLONESAFE_VMM_DEVICE_CORE_PAGE_DISCARD_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "vmm_device/core/guest_memory.h"
#include "vmm_device/core/page_set.h"

namespace clonesafe {

// Takes pages that the guest doesn't use away from it: they read as zeros and cost the host nothing
// until they are written again. Snapshots find zeros there, incremental ones a page that changed.
//
// A clone's memory is a private view of a snapshot's file. To drop a page of such a view
// (MADV_DONTNEED) would bring back what the file has, which the guest may have wiped since. So
// there zeros are mapped over the pages. Each piece of that is a mapping of its own, of which a
// process has a limited number; once a guest has used up its share, pages are written with zeros
// instead.
//
// One thread at a time. vCPUs may run: they find the page as it was, or zeros.
class PageDiscard {
 public:
  // What a page of this memory shows once the process's copy of it is dropped.
  enum class Below { kZeros, kFile };
  // Mappings of a clone that a guest can cause, of the 65530 that Linux allows a process.
  static constexpr std::uint64_t kMaxPieces = 8192;

  // `memory` has regions of whole pages; their mappings outlive the object.
  PageDiscard(GuestMemory memory, Below below, std::uint64_t max_pieces = kMaxPieces)
      : memory_(std::move(memory)), below_(below), max_pieces_(max_pieces) {}

  // Discards the whole pages of this part of guest memory, all but those in `kept` (guest page
  // numbers, ascending). How many that were; a page for which the host refuses stays as it is.
  std::uint64_t discard(std::span<std::byte> bytes, std::span<const std::uint64_t> kept);

  const GuestMemory& memory() const { return memory_; }
  // Of a clone: how many pieces of its memory are no longer the file's.
  std::uint64_t pieces() const { return pieces_; }

 private:
  // `first`: the number of its first page, as PageSet counts them.
  bool discard_run(std::span<std::byte> bytes, std::uint64_t first);
  bool map_zeros(std::span<std::byte> bytes, std::uint64_t first);

  const GuestMemory memory_;
  const Below below_;
  const std::uint64_t max_pieces_;
  PageSet own_;  // pages that are no longer the file's
  std::uint64_t pieces_ = 0;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_CORE_PAGE_DISCARD_H_
