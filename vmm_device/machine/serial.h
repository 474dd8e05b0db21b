#ifndef CLONESAFE_VMM_DEVICE_MACHINE_SERIAL_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_SERIAL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/core/bus_device.h"

namespace clonesafe {

// A 16550A at COM1: enough for the kernel's console and a terminal. What the guest sends is handed
// to `output` at once, on the vCPU's thread; there is no baud rate. Thread-safe.
class Serial : public BusDevice {
 public:
  using Output = std::function<void(std::span<const std::byte>)>;
  // `line` outlives the device.
  Serial(InterruptLine& line, Output output) : line_(line), output_(std::move(output)) {}

  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

  // Bytes for the guest. What doesn't fit (64 bytes wait at most) is left: how many were taken.
  std::size_t receive(std::span<const std::byte> bytes);

  std::vector<std::byte> save() const;
  // Interrupts that were pending are raised again: an edge that fell into the snapshot is not lost.
  Status restore(std::span<const std::byte> state);

 private:
  std::uint8_t read_register(std::uint64_t offset);
  void write_register(std::uint64_t offset, std::uint8_t value);
  std::uint8_t interrupt_id() const;
  void raise_if_pending();
  bool divisor_latch() const { return (line_control_ & 0x80) != 0; }
  bool loopback() const { return (modem_control_ & 0x10) != 0; }

  InterruptLine& line_;
  Output output_;
  mutable std::mutex mutex_;
  std::uint8_t interrupt_enable_ = 0;
  std::uint8_t fifo_control_ = 0;
  std::uint8_t line_control_ = 0x03;
  std::uint8_t modem_control_ = 0x08;
  std::uint8_t scratch_ = 0;
  std::uint16_t divisor_ = 12;
  bool transmit_interrupt_ = false;
  std::deque<std::uint8_t> received_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_SERIAL_H_
