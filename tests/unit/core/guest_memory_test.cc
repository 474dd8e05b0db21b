#include "vmm_device/core/guest_memory.h"

#include <gtest/gtest.h>

#include <array>

namespace clonesafe {
namespace {

class GuestMemoryTest : public testing::Test {
 protected:
  std::array<std::byte, 0x1000> low_{};
  std::array<std::byte, 0x1000> high_{};
  GuestMemory memory_{std::vector<GuestMemory::Region>{{GuestAddress(0), low_},
                                                       {GuestAddress(0x100000000), high_}}};
};

TEST_F(GuestMemoryTest, GivesTheBytesOfEachRegion) {
  ASSERT_TRUE(memory_.at(GuestAddress(0xff0), 0x10));
  EXPECT_EQ(memory_.at(GuestAddress(0xff0), 0x10)->data(), low_.data() + 0xff0);
  EXPECT_EQ(memory_.at(GuestAddress(0x100000000), 0x1000)->data(), high_.data());
  EXPECT_EQ(memory_.total_size(), 0x2000u);
}

TEST_F(GuestMemoryTest, RefusesWhatLeavesItsRegion) {
  EXPECT_FALSE(memory_.at(GuestAddress(0xff0), 0x11));
  EXPECT_FALSE(memory_.at(GuestAddress(0x1000), 1));
  EXPECT_FALSE(memory_.at(GuestAddress(0xffffffff), 2));
}

TEST_F(GuestMemoryTest, RefusesSizesThatWrapAround) {
  EXPECT_FALSE(memory_.at(GuestAddress(8), ~std::uint64_t{0}));
  EXPECT_FALSE(memory_.at(GuestAddress(~std::uint64_t{0}), 8));
}

TEST_F(GuestMemoryTest, RefusesNothing) {
  auto bytes = memory_.at(GuestAddress(0), 0);
  ASSERT_FALSE(bytes);
  EXPECT_EQ(bytes.error().message(), "guest memory: no 0 bytes at 0x0");
}

TEST_F(GuestMemoryTest, ReadsAndWritesValues) {
  ASSERT_TRUE(memory_.write<std::uint32_t>(GuestAddress(0x100), 0x12345678));
  EXPECT_EQ(memory_.read<std::uint32_t>(GuestAddress(0x100)).value(), 0x12345678u);
  EXPECT_FALSE(memory_.write<std::uint64_t>(GuestAddress(0xffc), 1));
}

}  // namespace
}  // namespace clonesafe
