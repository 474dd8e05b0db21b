#include "vmm_device/machine/bus.h"

#include <gtest/gtest.h>

#include <limits>
#include <optional>

#include "vmm_device/core/layout.h"
#include "vmm_device/machine/power.h"

namespace clonesafe {
namespace {

struct Recorder : BusDevice {
  void read(std::uint64_t offset, std::span<std::byte> data) override {
    last = offset;
    for (std::byte& byte : data) byte = std::byte{7};
  }
  void write(std::uint64_t offset, std::span<const std::byte>) override { last = offset; }
  std::optional<std::uint64_t> last;
};

TEST(Bus, GivesTheDeviceItsOwnOffset) {
  Bus bus;
  Recorder device;
  bus.attach(0x3f8, 8, device);
  std::byte data[2] = {};
  bus.read(0x3fc, data);
  EXPECT_EQ(device.last, 4u);
  EXPECT_EQ(data[1], std::byte{7});
}

TEST(Bus, UnknownAddressesReadAllOnes) {
  Bus bus;
  std::byte data[4] = {};
  bus.read(0x1234, data);
  for (const std::byte byte : data) EXPECT_EQ(byte, std::byte{0xff});
  bus.write(0x1234, data);
}

TEST(Bus, AnAccessAcrossTheEndReachesNobody) {
  Bus bus;
  Recorder device;
  bus.attach(0x1000, 8, device);
  std::byte data[4] = {};
  bus.read(0x1006, data);
  EXPECT_EQ(data[0], std::byte{0xff});
  bus.write(std::numeric_limits<std::uint64_t>::max() - 1, data);
  EXPECT_EQ(device.last, std::nullopt);
}

TEST(Power, S5PowersOffAndTheResetValueResets) {
  std::vector<PowerEvent> events;
  SleepRegisters registers([&](PowerEvent event) { events.push_back(event); });
  const auto write = [&](std::uint64_t offset, unsigned char value) {
    const std::byte byte{value};
    registers.write(offset, {&byte, 1});
  };
  write(0, layout::kSleepTypeS5 << 2);  // no enable bit
  write(0, 3 << 2 | 0x20);              // another sleep type
  write(2, 1);                          // not the reset value
  EXPECT_TRUE(events.empty());
  write(0, layout::kSleepTypeS5 << 2 | 0x20);
  write(2, layout::kResetValue);
  EXPECT_EQ(events, (std::vector{PowerEvent::kOff, PowerEvent::kReset}));
}

}  // namespace
}  // namespace clonesafe
