#include "vmm_device/acpi/tables.h"

#include <gtest/gtest.h>

#include "tests/unit/acpi/tables_for_testing.h"

namespace clonesafe {
namespace {

constexpr AcpiConfig kFull{.cpus = 4, .virtio_devices = layout::kVirtioMaxDevices};

unsigned sum(TableBytes bytes) {
  unsigned total = 0;
  for (const std::byte byte : bytes) total += std::to_integer<unsigned>(byte);
  return total & 0xff;
}

TEST(AcpiTables, ChecksumsAndLengthsAgree) {
  for (const AcpiConfig& config : {kFull, AcpiConfig{}, AcpiConfig{.cpus = 255}}) {
    const auto image = build_acpi_tables(config).value();
    const auto tables = tables_in(image);
    ASSERT_EQ(tables.size(), 5u);
    for (const auto& [signature, table] : tables) EXPECT_EQ(sum(table), 0u) << signature;
    EXPECT_EQ(sum(std::span(image).first(20)), 0u);
    EXPECT_EQ(tables.at("FACP").size(), 276u);
    EXPECT_EQ(tables.at("APIC").size(), 44u + 8u * config.cpus + 12u);
    EXPECT_EQ(value_at<std::uint32_t>(tables.at("FACP"), 40),
              value_at<std::uint64_t>(tables.at("FACP"), 140));
    // The XSDT is last, and nothing follows it.
    EXPECT_EQ(tables.at("XSDT").data() + tables.at("XSDT").size(), image.data() + image.size());
  }
}

TEST(AcpiTables, RsdpIsRevisionTwoAndNamesTheXsdtOnly) {
  const auto image = build_acpi_tables(kFull).value();
  EXPECT_EQ(std::memcmp(image.data(), "RSD PTR ", 8), 0);
  EXPECT_EQ(std::memcmp(image.data() + 9, "CLNSFE", 6), 0);
  EXPECT_EQ(value_at<std::uint8_t>(image, 15), 2);
  EXPECT_EQ(value_at<std::uint32_t>(image, 16), 0u);  // no RSDT
  EXPECT_EQ(value_at<std::uint32_t>(image, 20), 36u);
  const auto xsdt = value_at<std::uint64_t>(image, 24);
  EXPECT_EQ(xsdt % 16, 0u);
  EXPECT_EQ(std::memcmp(image.data() + (xsdt - layout::kAcpiRsdp), "XSDT", 4), 0);
}

TEST(AcpiTables, FitTheirPlaceAtTheirLargest) {
  const auto image =
      build_acpi_tables({.cpus = 255, .virtio_devices = layout::kVirtioMaxDevices}).value();
  EXPECT_LE(image.size(), layout::kAcpiEnd - layout::kAcpiRsdp);
}

TEST(AcpiTables, FadtIsHardwareReducedWithSleepAndResetPorts) {
  const auto image = build_acpi_tables(kFull).value();
  const TableBytes fadt = tables_in(image).at("FACP");
  EXPECT_EQ(value_at<std::uint32_t>(fadt, 112), 1u << 20 | 1u << 10 | 1u << 5 | 1u << 4);
  const auto port = [&](std::size_t offset) {
    EXPECT_EQ(value_at<std::uint32_t>(fadt, offset), 0x01000801u);  // I/O, 8 bits, byte access
    return value_at<std::uint64_t>(fadt, offset + 4);
  };
  EXPECT_EQ(port(116), 0x602u);
  EXPECT_EQ(value_at<std::uint8_t>(fadt, 128), 0x42);
  EXPECT_EQ(port(244), 0x600u);
  EXPECT_EQ(port(256), 0x601u);
}

TEST(AcpiTables, EqualConfigurationsGiveEqualBytes) {
  EXPECT_EQ(build_acpi_tables(kFull).value(), build_acpi_tables(kFull).value());
  EXPECT_NE(build_acpi_tables(kFull).value(), build_acpi_tables({}).value());
}

TEST(AcpiTables, RefuseWhatTheMachineCannotHave) {
  EXPECT_EQ(build_acpi_tables({.cpus = 0}).error().message(),
            "ACPI tables: 0 CPUs, expected 1 to 255");
  EXPECT_EQ(build_acpi_tables({.cpus = 256}).error().message(),
            "ACPI tables: 256 CPUs, expected 1 to 255");
  EXPECT_EQ(build_acpi_tables({.virtio_devices = 13}).error().message(),
            "ACPI tables: 13 virtio devices, at most 12 fit");
}

TEST(AcpiTables, SsdtOfWhatCantBeIsRefused) {
  EXPECT_TRUE(build_generation_ssdt({}));
  EXPECT_EQ(sum(*build_generation_ssdt({})), 0u);
  EXPECT_FALSE(build_generation_ssdt({.pages = 0x1800}));
  EXPECT_FALSE(build_generation_ssdt({.pages = 0xffff'ffff'ffff'f000}));
  EXPECT_FALSE(build_generation_ssdt({.vmgenid_gsi = 7, .vmclock_gsi = 7}));
  EXPECT_TRUE(build_generation_ssdt({.vmclock = false, .vmgenid_gsi = 7, .vmclock_gsi = 7}));
}

}  // namespace
}  // namespace clonesafe
