#include "guest_agent/sources/devices.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/unit/agent/acpi_tables.h"
#include "tests/unit/agent/fakes.h"
#include "vmm_device/acpi/tables.h"
#include "vmm_device/core/layout.h"

namespace clonesafe::agent {
namespace {

std::vector<std::byte> table(std::span<const std::uint8_t> bytes) {
  std::vector<std::byte> copy(bytes.size());
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  return copy;
}

std::vector<std::byte> clonevm_dsdt(const AcpiConfig& config) {
  const std::vector<std::byte> image = build_acpi_tables(config).value();
  for (std::size_t i = 0; i + 36 < image.size(); ++i) {
    if (std::memcmp(&image[i], "DSDT", 4) != 0) continue;
    std::uint32_t length = 0;
    std::memcpy(&length, &image[i + 4], sizeof(length));
    return {image.begin() + static_cast<std::ptrdiff_t>(i),
            image.begin() + static_cast<std::ptrdiff_t>(i + length)};
  }
  return {};
}

TEST(AcpiVmgenid, QemuSsdtGivesPageAndOffset) {
  const auto found = find_vmgenid(table(kQemuSsdt));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->address, 0x0ffff000U + 40U);
  EXPECT_EQ(found->shape, "qemu");
}

TEST(AcpiVmgenid, FirecrackerDsdtGivesStaticAddress) {
  const auto found = find_vmgenid(table(kFirecrackerDsdt));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->address, 0x000dfff0U);
  EXPECT_EQ(found->shape, "static package");
}

TEST(AcpiVmgenid, ClonevmDsdtGivesItsOwnPage) {
  const auto found = find_vmgenid(clonevm_dsdt({.cpus = 2, .virtio_devices = 3}));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->address, layout::kVmgenidPage);
}

TEST(AcpiVmgenid, ClonevmWithoutTheDeviceGivesNothing) {
  EXPECT_FALSE(find_vmgenid(clonevm_dsdt({.vmgenid = false})));
}

TEST(AcpiVmgenid, QemuPageThatFirmwareDidNotPlaceIsAbsent) {
  auto ssdt = table(kQemuSsdt);
  std::memset(&ssdt[36 + 6], 0, 4);  // the value of VGIA
  EXPECT_FALSE(find_vmgenid(ssdt));
}

TEST(AcpiVmgenid, MisalignedAddressIsRefused) {
  auto dsdt = table(kFirecrackerDsdt);
  const std::uint8_t address[] = {0x0c, 0xf0, 0xff, 0x0d, 0x00};
  for (std::size_t i = 0; i + sizeof(address) <= dsdt.size(); ++i) {
    if (std::memcmp(&dsdt[i], address, sizeof(address)) == 0) dsdt[i + 1] = std::byte{0xf1};
  }
  EXPECT_FALSE(find_vmgenid(dsdt));
}

TEST(AcpiVmgenid, EveryCutOfATableIsSurvived) {
  for (const auto& whole : {table(kQemuSsdt), table(kFirecrackerDsdt)}) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      // The header's length no longer fits, so nothing may be found.
      EXPECT_FALSE(find_vmgenid(std::span(whole).first(size))) << size;
    }
  }
}

TEST(AcpiVmgenid, AnotherTableIsNotLookedAt) {
  auto other = table(kQemuSsdt);
  std::memcpy(other.data(), "FACP", 4);
  EXPECT_FALSE(find_vmgenid(other));
}

TEST(AcpiVmgenid, FolderIsSearchedDsdtAndSsdtsOnly) {
  const TemporaryFolder folder;
  const std::string ssdt(reinterpret_cast<const char*>(kQemuSsdt), sizeof(kQemuSsdt));
  folder.write("DSDT", "DSDT but nothing more");
  folder.write("APIC", ssdt);
  EXPECT_FALSE(find_vmgenid_in_tables(folder / ""));
  folder.write("SSDT1", ssdt);
  const auto found = find_vmgenid_in_tables(folder / "");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->shape, "qemu");
}

TEST(AcpiVmgenid, MissingFolderIsAnErrorThatNamesIt) {
  const auto found = find_vmgenid_in_tables("/nowhere/tables");
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().message().find("/nowhere/tables"), std::string::npos);
}

}  // namespace
}  // namespace clonesafe::agent
