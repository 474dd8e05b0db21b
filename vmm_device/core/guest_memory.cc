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

void GuestMemory::mark(std::span<const std::byte> bytes) const {
  std::uint64_t first_page = 0;
  for (const Region& region : regions_) {
    // Addresses as numbers: pointers into different mappings have no order.
    const auto start = reinterpret_cast<std::uintptr_t>(region.bytes.data());
    const auto at = reinterpret_cast<std::uintptr_t>(bytes.data());
    if (at >= start && at - start < region.bytes.size() && !bytes.empty()) {
      const std::uint64_t last = (at - start + bytes.size() - 1) / PageSet::kPageSize;
      for (std::uint64_t page = (at - start) / PageSet::kPageSize; page <= last; ++page)
        written_->insert(first_page + page);
      return;
    }
    first_page += region.bytes.size() / PageSet::kPageSize;
  }
}

std::uint64_t GuestMemory::total_size() const {
  std::uint64_t total = 0;
  for (const Region& region : regions_) total += region.bytes.size();
  return total;
}

}  // namespace clonesafe
