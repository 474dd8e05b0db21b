#include "vmm_device/core/page_set.h"

#include <gtest/gtest.h>

#include "vmm_device/core/guest_memory.h"

namespace clonesafe {
namespace {

TEST(PageSet, KeepsWhatIsInserted) {
  PageSet set(130);
  for (const std::uint64_t page : {0u, 63u, 64u, 129u, 129u}) set.insert(page);
  EXPECT_EQ(set.count(), 4u);
  EXPECT_TRUE(set.contains(129));
  EXPECT_FALSE(set.contains(128));
  EXPECT_TRUE(set.contains_any(60, 4));
  EXPECT_FALSE(set.contains_any(1, 62));
  set.clear();
  EXPECT_EQ(set.count(), 0u);
  EXPECT_EQ(set.pages(), 130u);
}

TEST(PageSet, ComesBackFromItsBytes) {
  PageSet set(77);
  for (const std::uint64_t page : {3u, 64u, 76u}) set.insert(page);
  ASSERT_EQ(set.bytes().size(), 10u);
  const PageSet again(77, set.bytes());
  EXPECT_EQ(again.count(), 3u);
  EXPECT_TRUE(again.contains(3) && again.contains(64) && again.contains(76));
}

TEST(PageSet, TakesABitmapThatStartsAtAnyPage) {
  PageSet set(300);
  const std::uint64_t bitmap[] = {1u | std::uint64_t{1} << 63, 2};
  set.insert_bitmap(37, bitmap);
  EXPECT_EQ(set.count(), 3u);
  EXPECT_TRUE(set.contains(37) && set.contains(37 + 63) && set.contains(37 + 65));
}

// Two regions of 4 and 3 pages: the second one's first page is page 4.
class TrackedMemory : public testing::Test {
 protected:
  std::vector<std::byte> low_ = std::vector<std::byte>(4 * PageSet::kPageSize);
  std::vector<std::byte> high_ = std::vector<std::byte>(3 * PageSet::kPageSize);
  PageSet written_{7};
  GuestMemory memory_{{{GuestAddress(0), low_}, {GuestAddress(0x100000000), high_}}, &written_};
};

TEST_F(TrackedMemory, CountsAValueWritten) {
  ASSERT_TRUE(memory_.write(GuestAddress(0x100000000), 1));
  EXPECT_EQ(written_.count(), 1u);
  EXPECT_TRUE(written_.contains(4));
}

TEST_F(TrackedMemory, CountsEveryPageOfAWrite) {
  auto bytes = memory_.at(GuestAddress(0xfff), 0x1002);
  ASSERT_TRUE(bytes);
  memory_.wrote(*bytes);
  EXPECT_EQ(written_.count(), 3u);
  EXPECT_TRUE(written_.contains(0) && written_.contains(1) && written_.contains(2));
}

TEST_F(TrackedMemory, DoesNotCountAReadNorARefusedWrite) {
  ASSERT_TRUE(memory_.read<int>(GuestAddress(0)));
  EXPECT_FALSE(memory_.write(GuestAddress(0x4000), 1));
  EXPECT_EQ(written_.count(), 0u);
}

}  // namespace
}  // namespace clonesafe
