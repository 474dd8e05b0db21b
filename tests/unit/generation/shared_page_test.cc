#include "vmm_device/generation/shared_page.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>

namespace clonesafe {
namespace {

TEST(SharedPage, ReaderThatRacesWithTheWriterSeesNoTornUpdate) {
  alignas(4096) std::array<std::byte, SharedPage::kSize> bytes{};
  constexpr std::size_t kSequence = 0x0c;
  constexpr std::uint64_t kUpdates = 20'000;
  std::thread writer([&] {
    SharedPage page(bytes.data());
    for (std::uint64_t value = 1; value <= kUpdates; ++value) {
      page.begin_update(kSequence);
      page.store(0x10, value);
      page.store(0x68, value);
      page.end_update(kSequence);
    }
  });
  const SharedPage page(bytes.data());
  std::uint64_t torn = 0;
  std::uint64_t last = 0;
  while (last != kUpdates) {
    const auto before = page.load<std::uint32_t>(kSequence);
    const auto first = page.load<std::uint64_t>(0x10);
    const auto second = page.load<std::uint64_t>(0x68);
    if (before % 2 != 0 || page.load<std::uint32_t>(kSequence) != before) continue;
    if (first != second) ++torn;
    last = second;
  }
  writer.join();
  EXPECT_EQ(torn, 0u);
}

TEST(SharedPage, UpdateOfAnOddSequenceMovesOn) {
  alignas(4096) std::array<std::byte, SharedPage::kSize> bytes{};
  SharedPage page(bytes.data());
  page.store(0, std::uint32_t{7});
  page.begin_update(0);
  EXPECT_EQ(page.load<std::uint32_t>(0), 7u);
  page.end_update(0);
  EXPECT_EQ(page.load<std::uint32_t>(0), 8u);
  page.begin_update(0);
  EXPECT_EQ(page.load<std::uint32_t>(0), 9u);
}

}  // namespace
}  // namespace clonesafe
