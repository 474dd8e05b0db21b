#include "vmm_device/core/guest_memory.h"

#include <cstdio>

namespace clonesafe {

Result<std::span<std::byte>> GuestMemory::at(GuestAddress address, std::uint64_t size) const {
  for (const Region& region : regions_) {
    if (address < region.start) continue;
    const std::uint64_t offset = address.value() - region.start.value();
    // Written so that nothing can wrap: offset is in the region, and size fits in what is left of
    // it.
    if (offset < region.bytes.size() && size != 0 && size <= region.bytes.size() - offset) {
      return region.bytes.subspan(offset, size);
    }
  }
  char text[96];
  std::snprintf(text, sizeof text, "guest memory: no %llu bytes at 0x%llx",
                static_cast<unsigned long long>(size),
                static_cast<unsigned long long>(address.value()));
  return fail(std::string(text));
}

std::uint64_t GuestMemory::total_size() const {
  std::uint64_t total = 0;
  for (const Region& region : regions_) total += region.bytes.size();
  return total;
}

}  // namespace clonesafe
