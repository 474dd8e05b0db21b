#include "vmm_device/machine/power.h"

#include "vmm_device/core/layout.h"

namespace clonesafe {
namespace {

constexpr std::uint64_t kSleepControl = 0;
constexpr std::uint64_t kReset = layout::kResetPort - layout::kSleepControlPort;
constexpr unsigned kSleepEnable = 0x20, kSleepTypeShift = 2, kSleepTypeMask = 7;
constexpr std::byte kPulseReset{0xfe};

}  // namespace

void SleepRegisters::read(std::uint64_t, std::span<std::byte> data) {
  if (data.size() == 1) data[0] = std::byte{0};
}

void SleepRegisters::write(std::uint64_t offset, std::span<const std::byte> data) {
  if (data.size() != 1) return;
  const auto value = std::to_integer<unsigned>(data[0]);
  if (offset == kSleepControl && (value & kSleepEnable) != 0 &&
      (value >> kSleepTypeShift & kSleepTypeMask) == layout::kSleepTypeS5)
    callback_(PowerEvent::kOff);
  if (offset == kReset && value == layout::kResetValue) callback_(PowerEvent::kReset);
}

void ResetController::read(std::uint64_t, std::span<std::byte> data) {
  // Status: nothing to read, ready for a command.
  if (data.size() == 1) data[0] = std::byte{0};
}

void ResetController::write(std::uint64_t, std::span<const std::byte> data) {
  if (data.size() == 1 && data[0] == kPulseReset) callback_(PowerEvent::kReset);
}

}  // namespace clonesafe
