#ifndef CLONESAFE_VMM_DEVICE_MACHINE_GUEST_RAM_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_GUEST_RAM_H_

#include <cstdint>
#include <memory>
#include <span>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/mapping.h"
#include "vmm_device/core/guest_memory.h"
#include "vmm_device/core/layout.h"
#include "vmm_device/core/page_discard.h"

namespace clonesafe {

// A guest's RAM and its generation pages, as mappings of this process. Neither is in core dumps.
// The generation pages are a mapping of their own, so that nothing that copies RAM can copy a seed.
class GuestRam {
 public:
  // Fresh, zeroed RAM; nothing is allocated until it is touched.
  // `track_writes`: the host's writes through memory() are noted in written().
  static Result<GuestRam> create(std::uint64_t size, bool track_writes = false);
  // RAM as a private copy-on-write view of a snapshot's sealed memfd, low RAM first.
  static Result<GuestRam> map_snapshot(int memory_fd, std::uint64_t size,
                                       bool track_writes = false);

  std::uint64_t size() const { return ram_.size(); }
  // RAM only, in address order.
  const GuestMemory& memory() const { return memory_; }
  PageDiscard::Below below() const { return below_; }
  // Null: writes are not tracked.
  PageSet* written() const { return written_.get(); }
  std::span<std::byte, layout::kGenerationPagesSize> generation_pages() const {
    return std::span<std::byte, layout::kGenerationPagesSize>(pages_.data(),
                                                              layout::kGenerationPagesSize);
  }

 private:
  static Result<GuestRam> finish(Mapping ram, bool track_writes);
  Mapping ram_;
  Mapping pages_;
  std::unique_ptr<PageSet> written_;  // memory_ points to it
  GuestMemory memory_;
  PageDiscard::Below below_ = PageDiscard::Below::kZeros;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_GUEST_RAM_H_
