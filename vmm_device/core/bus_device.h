#ifndef CLONESAFE_VMM_DEVICE_CORE_BUS_DEVICE_H_
#define CLONESAFE_VMM_DEVICE_CORE_BUS_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "libclonesafe/base/error.h"

namespace clonesafe {

// A device on the port I/O or MMIO bus. `offset` is relative to the start of its range, and
// offset + data.size() lies within the range. Called on vCPU threads, several at once: a device
// locks for itself. Guest-chosen input never throws or asserts; a read of nothing leaves `data` as
// it is (the bus preset it to all ones).
class BusDevice {
 public:
  virtual ~BusDevice() = default;
  virtual void read(std::uint64_t offset, std::span<std::byte> data) = 0;
  virtual void write(std::uint64_t offset, std::span<const std::byte> data) = 0;
};

// An edge-triggered interrupt line of the guest. Thread-safe.
class InterruptLine {
 public:
  virtual ~InterruptLine() = default;
  virtual void raise() = 0;
};

// A register whose writes can be had without the vCPU that makes them. Thread-safe.
class Doorbell {
 public:
  virtual ~Doorbell() = default;
  // From now on a write of this value (32 bits) signals the eventfd, and the bus no longer sees it.
  virtual Status connect(std::uint32_t value, int event) = 0;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_CORE_BUS_DEVICE_H_
