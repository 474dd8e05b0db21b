#ifndef CLONESAFE_VMM_DEVICE_MACHINE_POWER_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_POWER_H_

#include <functional>

#include "vmm_device/core/bus_device.h"

namespace clonesafe {

enum class PowerEvent { kOff, kReset };
using PowerCallback = std::function<void(PowerEvent)>;

// The sleep and reset registers of the hardware-reduced FADT (ACPI 6.4, 4.8.3.7), at
// layout::kSleepControlPort, three ports. The callback runs on the vCPU's thread.
class SleepRegisters : public BusDevice {
 public:
  explicit SleepRegisters(PowerCallback callback) : callback_(std::move(callback)) {}
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  PowerCallback callback_;
};

// The one command of the keyboard controller that matters here: 0xfe to port 0x64 pulls the reset
// line. Linux tries it where the reset register doesn't do.
class ResetController : public BusDevice {
 public:
  explicit ResetController(PowerCallback callback) : callback_(std::move(callback)) {}
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  PowerCallback callback_;
};

inline constexpr std::uint16_t kKeyboardCommandPort = 0x64;

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_POWER_H_
