#include "vmm_device/machine/bus.h"

#include <algorithm>

namespace clonesafe {

void Bus::attach(std::uint64_t start, std::uint64_t size, BusDevice& device) {
  ranges_.push_back({start, size, &device});
}

const Bus::Range* Bus::find(std::uint64_t address, std::size_t size) const {
  for (const Range& range : ranges_) {
    // Subtractions only: an address near the end of the space can't wrap.
    if (address >= range.start && address - range.start < range.size &&
        size <= range.size - (address - range.start))
      return &range;
  }
  return nullptr;
}

void Bus::read(std::uint64_t address, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0xff});
  if (const Range* range = find(address, data.size()))
    range->device->read(address - range->start, data);
}

void Bus::write(std::uint64_t address, std::span<const std::byte> data) const {
  if (const Range* range = find(address, data.size()))
    range->device->write(address - range->start, data);
}

}  // namespace clonesafe
