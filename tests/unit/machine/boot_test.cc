#include "vmm_device/machine/boot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/machine/kernel_image.h"
#include "vmm_device/core/layout.h"
#include "vmm_device/machine/guest_ram.h"

namespace clonesafe {
namespace {

using testing::HasSubstr;
constexpr std::uint64_t kMiB = 1 << 20;

GuestRam ram_of(std::uint64_t size) {
  auto ram = GuestRam::create(size);
  EXPECT_TRUE(ram) << ram.error().message();
  return std::move(*ram);
}

bool covered(const std::vector<boot_e820_entry>& map, std::uint64_t address, std::uint32_t type) {
  for (const boot_e820_entry& entry : map) {
    if (address >= entry.addr && address - entry.addr < entry.size) return entry.type == type;
  }
  return false;
}

TEST(E820Map, HasRamBelowThePlatformAndAbove4GiB) {
  const auto map = e820_map(std::uint64_t{4} << 30);
  EXPECT_TRUE(covered(map, 0, 1));
  EXPECT_TRUE(covered(map, layout::kLowRamEnd - 1, 1));
  EXPECT_FALSE(covered(map, layout::kLowRamEnd, 1));
  EXPECT_TRUE(covered(map, layout::kHighRamStart, 1));
  EXPECT_TRUE(covered(map, layout::kHighRamStart + (std::uint64_t{1} << 30) - 1, 1));
  EXPECT_FALSE(covered(map, layout::kHighRamStart + (std::uint64_t{1} << 30), 1));
}

TEST(E820Map, ReservesTablesAndGenerationPages) {
  const auto map = e820_map(256 * kMiB);
  EXPECT_TRUE(covered(map, layout::kAcpiRsdp, 2));
  EXPECT_TRUE(covered(map, layout::kReservedLow, 2));
  EXPECT_TRUE(covered(map, layout::kVmgenidPage, 2));
  EXPECT_TRUE(covered(map, layout::kSeedPage + 0xfff, 2));
  EXPECT_FALSE(covered(map, 256 * kMiB, 1));
}

TEST(GuestRam, SplitsAroundThePlatformHole) {
  const auto ram = ram_of(layout::kLowRamEnd + 64 * kMiB);
  ASSERT_EQ(ram.memory().regions().size(), 2u);
  EXPECT_EQ(ram.memory().regions()[1].start, GuestAddress(layout::kHighRamStart));
  EXPECT_EQ(ram.memory().regions()[1].bytes.size(), 64 * kMiB);
  EXPECT_FALSE(ram.memory().at(GuestAddress(layout::kSeedPage), 1)) << "a seed is not RAM";
}

TEST(LoadLinux, PutsEverythingWhereTheKernelLooksForIt) {
  const auto ram = ram_of(64 * kMiB);
  const auto kernel = make_kernel_image();
  const std::vector<std::byte> initrd(5000, std::byte{0x5a});
  const std::vector<std::byte> acpi(64, std::byte{0xac});
  const auto entry = load_linux(
      ram.memory(), {.kernel = kernel, .initrd = initrd, .command_line = "quiet", .acpi = acpi});
  ASSERT_TRUE(entry) << entry.error().message();

  // Its fields are packed: + makes values of them, which gtest may hold by reference.
  const auto params = *ram.memory().read<boot_params>(entry->boot_params);
  EXPECT_EQ(+params.hdr.header, 0x53726448u);
  EXPECT_EQ(+params.hdr.type_of_loader, 0xff);
  EXPECT_EQ(+params.acpi_rsdp_addr, layout::kAcpiRsdp);
  EXPECT_EQ(+params.hdr.ramdisk_size, 5000u);
  EXPECT_EQ(params.hdr.ramdisk_image % 4096, 0u);
  EXPECT_LE(params.hdr.ramdisk_image + 5000u, 64 * kMiB);
  EXPECT_GT(+params.e820_entries, 3);
  EXPECT_EQ(*ram.memory().read<std::uint8_t>(GuestAddress(params.hdr.ramdisk_image)), 0x5a);
  EXPECT_EQ(*ram.memory().read<std::uint8_t>(GuestAddress(layout::kAcpiRsdp)), 0xac);
  const auto text = *ram.memory().at(GuestAddress(params.hdr.cmd_line_ptr), 6);
  EXPECT_EQ(std::memcmp(text.data(), "quiet", 6), 0);
  // 0x200 bytes into the protected-mode part.
  EXPECT_EQ(entry->instruction.value(), layout::kKernelLoad + 0x200);
  EXPECT_EQ(*ram.memory().read<std::uint8_t>(entry->instruction + 3), 3);
}

TEST(LoadLinux, MapsTheFirst4GiBToThemselves) {
  const auto ram = ram_of(64 * kMiB);
  const auto kernel = make_kernel_image();
  ASSERT_TRUE(load_linux(ram.memory(), {.kernel = kernel, .command_line = {}}));
  for (const std::uint64_t address : {std::uint64_t{0}, layout::kKernelLoad, layout::kLocalApic}) {
    const auto top = *ram.memory().read<std::uint64_t>(GuestAddress(kBootPageTables));
    const auto second =
        *ram.memory().read<std::uint64_t>(GuestAddress((top & ~0xfffULL) + (address >> 30) * 8));
    const auto third = *ram.memory().read<std::uint64_t>(
        GuestAddress((second & ~0xfffULL) + (address >> 21 & 511) * 8));
    EXPECT_EQ(third & ~0xfffULL, address & ~(2 * kMiB - 1));
    EXPECT_EQ(third & 0x83, 0x83u);
  }
}

TEST(LoadLinux, RefusesMemoryThatIsTooSmall) {
  const auto ram = ram_of(20 * kMiB);
  const auto kernel = make_kernel_image();
  const auto entry = load_linux(ram.memory(), {.kernel = kernel, .command_line = {}});
  ASSERT_FALSE(entry);
  EXPECT_THAT(entry.error().message(),
              HasSubstr("memory of 20 MiB is too small: the kernel needs 24 MiB"));
}

TEST(LoadLinux, RefusesAnInitrdThatDoesNotFit) {
  const auto ram = ram_of(32 * kMiB);
  const auto kernel = make_kernel_image();
  const std::vector<std::byte> initrd(9 * kMiB);
  const auto entry =
      load_linux(ram.memory(), {.kernel = kernel, .initrd = initrd, .command_line = {}});
  ASSERT_FALSE(entry);
  EXPECT_THAT(entry.error().message(), HasSubstr("initrd has 9 MiB"));
}

TEST(LoadLinux, KeepsTheInitrdBelowTheKernelsLimit) {
  const auto ram = ram_of(128 * kMiB);
  auto kernel = make_kernel_image();
  patch<std::uint32_t>(kernel, 0x22c, 64 * kMiB - 1);
  const std::vector<std::byte> initrd(kMiB);
  const auto entry =
      load_linux(ram.memory(), {.kernel = kernel, .initrd = initrd, .command_line = {}});
  ASSERT_TRUE(entry);
  EXPECT_EQ(+ram.memory().read<boot_params>(entry->boot_params)->hdr.ramdisk_image, 63 * kMiB);
}

TEST(LoadLinux, RefusesALongCommandLine) {
  const auto ram = ram_of(64 * kMiB);
  const auto kernel = make_kernel_image();
  const auto entry =
      load_linux(ram.memory(), {.kernel = kernel, .command_line = std::string(3000, 'x')});
  ASSERT_FALSE(entry);
  EXPECT_THAT(entry.error().message(), HasSubstr("command line of 3000 bytes"));
}

}  // namespace
}  // namespace clonesafe
