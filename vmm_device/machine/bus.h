#ifndef CLONESAFE_VMM_DEVICE_MACHINE_BUS_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_BUS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm_device/core/bus_device.h"

namespace clonesafe {

// An address space of devices: ports or MMIO. Filled before the first vCPU runs, then only read, so
// any number of vCPU threads may use it.
class Bus {
 public:
  // `device` outlives the bus. Ranges must not overlap.
  void attach(std::uint64_t start, std::uint64_t size, BusDevice& device);

  // An access that no device's range holds whole reads all ones and writes nothing.
  void read(std::uint64_t address, std::span<std::byte> data) const;
  void write(std::uint64_t address, std::span<const std::byte> data) const;

 private:
  struct Range {
    std::uint64_t start;
    std::uint64_t size;
    BusDevice* device;
  };
  const Range* find(std::uint64_t address, std::size_t size) const;
  std::vector<Range> ranges_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_BUS_H_
