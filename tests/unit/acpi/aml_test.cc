#include "vmm_device/acpi/aml.h"

#include <gtest/gtest.h>

namespace clonesafe {
namespace {

aml::Bytes bytes(std::initializer_list<int> values) {
  aml::Bytes result;
  for (const int value : values) result.push_back(static_cast<std::byte>(value));
  return result;
}

TEST(Aml, IntegersTakeTheShortestForm) {
  EXPECT_EQ(aml::integer(0), bytes({0x00}));
  EXPECT_EQ(aml::integer(1), bytes({0x01}));
  EXPECT_EQ(aml::integer(2), bytes({0x0a, 2}));
  EXPECT_EQ(aml::integer(0xff), bytes({0x0a, 0xff}));
  EXPECT_EQ(aml::integer(0x100), bytes({0x0b, 0x00, 0x01}));
  EXPECT_EQ(aml::integer(0x10000), bytes({0x0c, 0x00, 0x00, 0x01, 0x00}));
  EXPECT_EQ(aml::integer(0x100000000), bytes({0x0e, 0, 0, 0, 0, 1, 0, 0, 0}));
}

TEST(Aml, PathsHavePaddedSegments) {
  EXPECT_EQ(aml::path("_S5"), bytes({'_', 'S', '5', '_'}));
  EXPECT_EQ(aml::path("\\_SB"), bytes({'\\', '_', 'S', 'B', '_'}));
  EXPECT_EQ(aml::path("\\_SB.GED"), bytes({'\\', 0x2e, '_', 'S', 'B', '_', 'G', 'E', 'D', '_'}));
  EXPECT_EQ(aml::path("A.B.C"),
            bytes({0x2f, 3, 'A', '_', '_', '_', 'B', '_', '_', '_', 'C', '_', '_', '_'}));
}

TEST(Aml, EisaIdIsCompressed) {
  // EisaId("PNP0501") as every PC's tables have it.
  EXPECT_EQ(aml::eisa_id("PNP0501"), bytes({0x0c, 0x41, 0xd0, 0x05, 0x01}));
}

// The length counts itself, so its own size changes at 62, 4093 and 1,048,571 bytes of contents.
TEST(Aml, PackageLengthCountsItself) {
  const auto length_of = [](std::size_t contents) {
    // A scope's contents are its name of four bytes and its terms.
    const aml::Bytes block = aml::scope("NAME", {aml::Bytes(contents - 4)});
    return aml::Bytes(block.begin() + 1, block.end() - static_cast<long>(contents));
  };
  EXPECT_EQ(length_of(62), bytes({63}));
  EXPECT_EQ(length_of(63), bytes({0x41, 0x04}));          // 65
  EXPECT_EQ(length_of(4093), bytes({0x4f, 0xff}));        // 4095
  EXPECT_EQ(length_of(4094), bytes({0x81, 0x00, 0x01}));  // 4097
  EXPECT_EQ(length_of((1 << 20) - 4), bytes({0x8f, 0xff, 0xff}));
  EXPECT_EQ(length_of((1 << 20) - 3), bytes({0xc1, 0x00, 0x00, 0x01}));
}

}  // namespace
}  // namespace clonesafe
