#include "vmm_device/core/page_discard.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "libclonesafe/base/mapping.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 64;
constexpr std::byte kOld{0x0d};  // what a snapshot's file has
constexpr std::byte kNew{0x4e};  // what the guest wrote

bool is(std::span<const std::byte> bytes, std::byte value) {
  return std::ranges::all_of(bytes, [&](std::byte byte) { return byte == value; });
}

// Guest memory in two regions of one mapping, as a machine's is.
class Memory {
 public:
  explicit Memory(PageDiscard::Below below) : below_(below) {
    int fd = -1;
    if (below == PageDiscard::Below::kFile) {
      file_ = UniqueFd(::memfd_create("snapshot", MFD_CLOEXEC));
      const std::vector<std::byte> bytes(kPages * kPage, kOld);
      EXPECT_EQ(::write(file_.get(), bytes.data(), bytes.size()),
                static_cast<ssize_t>(bytes.size()));
      fd = file_.get();
    }
    mapping_ = Mapping::map("memory", kPages * kPage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0), fd)
                   .value();
    EXPECT_EQ(::madvise(mapping_.data(), mapping_.size(), MADV_DONTDUMP), 0);
  }
  GuestMemory memory() {
    const auto bytes = mapping_.bytes();
    return GuestMemory({{GuestAddress(0), bytes.first(kPages / 2 * kPage)},
                        {GuestAddress(0x100000000), bytes.subspan(kPages / 2 * kPage)}},
                       &written_);
  }
  PageDiscard discard(std::uint64_t max_pieces = PageDiscard::kMaxPieces) {
    return PageDiscard(memory(), below_, max_pieces);
  }
  void fill() { std::ranges::fill(mapping_.bytes(), kNew); }
  std::span<std::byte> page(std::size_t index, std::size_t count = 1) {
    return mapping_.bytes().subspan(index * kPage, count * kPage);
  }
  bool resident(std::size_t index) {
    unsigned char there = 0;
    EXPECT_EQ(::mincore(page(index).data(), kPage, &there), 0);
    return (there & 1) != 0;
  }
  PageSet& written() { return written_; }

 private:
  const PageDiscard::Below below_;
  UniqueFd file_;
  Mapping mapping_;
  PageSet written_{kPages};
};

class PageDiscardTest : public testing::TestWithParam<PageDiscard::Below> {
 protected:
  Memory memory_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Both, PageDiscardTest,
                         testing::Values(PageDiscard::Below::kZeros, PageDiscard::Below::kFile));

// In a clone the file's page would come back if its own were dropped: what the guest had wiped
// since.
TEST_P(PageDiscardTest, PagesReadAsZerosAndTakeNoMemory) {
  memory_.fill();
  PageDiscard discard = memory_.discard();
  EXPECT_EQ(discard.discard(memory_.page(3, 5), {}), 5u);
  EXPECT_FALSE(memory_.resident(4));
  EXPECT_TRUE(is(memory_.page(3, 5), std::byte{0}));
  EXPECT_TRUE(is(memory_.page(2), kNew));
  EXPECT_TRUE(is(memory_.page(8), kNew));
}

TEST_P(PageDiscardTest, WhatIsWrittenAfterwardsStays) {
  memory_.fill();
  PageDiscard discard = memory_.discard();
  discard.discard(memory_.page(3, 5), {});
  std::ranges::fill(memory_.page(4), kNew);
  EXPECT_TRUE(is(memory_.page(4), kNew));
  // And is discarded like any other page.
  EXPECT_EQ(discard.discard(memory_.page(4), {}), 1u);
  EXPECT_TRUE(is(memory_.page(4), std::byte{0}));
}

TEST_P(PageDiscardTest, HalfPagesAndPagesThatAreKeptStay) {
  memory_.fill();
  PageDiscard discard = memory_.discard();
  const auto part = memory_.page(1, 8).subspan(100, 7 * kPage);
  const std::vector<std::uint64_t> kept = {0, 4, 5, 0x100000};
  EXPECT_EQ(discard.discard(part, kept), 4u);
  for (const std::size_t page : {0uz, 1uz, 4uz, 5uz, 8uz})
    EXPECT_TRUE(is(memory_.page(page), kNew)) << page;
  for (const std::size_t page : {2uz, 3uz, 6uz, 7uz})
    EXPECT_TRUE(is(memory_.page(page), std::byte{0})) << page;
}

TEST_P(PageDiscardTest, EachRegionHasItsOwnNumbers) {
  memory_.fill();
  PageDiscard discard = memory_.discard();
  const std::vector<std::uint64_t> kept = {0x100001};
  EXPECT_EQ(discard.discard(memory_.page(kPages / 2, 3), kept), 2u);
  EXPECT_TRUE(is(memory_.page(kPages / 2), std::byte{0}));
  EXPECT_TRUE(is(memory_.page(kPages / 2 + 1), kNew));
  EXPECT_TRUE(is(memory_.page(kPages / 2 + 2), std::byte{0}));
}

// An incremental snapshot must have the page, which is zeros now.
TEST_P(PageDiscardTest, CountsAsWritten) {
  PageDiscard discard = memory_.discard();
  const std::vector<std::uint64_t> kept = {4};
  discard.discard(memory_.page(3, 3), kept);
  discard.discard(memory_.page(kPages - 1), {});
  std::vector<std::uint64_t> written;
  for (std::uint64_t page = 0; page < kPages; ++page)
    if (memory_.written().contains(page)) written.push_back(page);
  EXPECT_EQ(written, (std::vector<std::uint64_t>{3, 5, kPages - 1}));
}

TEST_P(PageDiscardTest, BytesOfNoRegionStay) {
  std::vector<std::byte> other(4 * kPage, kNew);
  PageDiscard discard = memory_.discard();
  EXPECT_EQ(discard.discard(other, {}), 0u);
  EXPECT_TRUE(is(other, kNew));
}

// Guest memory is in no core dump, and what takes its place must not be.
TEST_P(PageDiscardTest, StaysOutOfCoreDumps) {
  PageDiscard discard = memory_.discard();
  discard.discard(memory_.page(10, 2), {});
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  int flags = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find('-') < line.find(' ')) {  // a mapping's first line
      const auto first = std::stoul(line, nullptr, 16);
      const auto last = std::stoul(line.substr(line.find('-') + 1), nullptr, 16);
      const auto at = reinterpret_cast<unsigned long>(memory_.page(10).data());
      inside = first <= at && at < last;
    }
    if (!inside || !line.starts_with("VmFlags:")) continue;
    ++flags;
    EXPECT_NE(line.find(" dd"), std::string::npos) << line;
  }
  EXPECT_EQ(flags, 1);
}

TEST(PageDiscardOfAClone, PiecesThatTouchAreOne) {
  Memory memory(PageDiscard::Below::kFile);
  PageDiscard discard = memory.discard();
  discard.discard(memory.page(4), {});
  discard.discard(memory.page(6), {});
  EXPECT_EQ(discard.pieces(), 2u);
  discard.discard(memory.page(7, 2), {});
  EXPECT_EQ(discard.pieces(), 2u);
  discard.discard(memory.page(5), {});
  EXPECT_EQ(discard.pieces(), 1u);
  discard.discard(memory.page(2, 10), {});
  EXPECT_EQ(discard.pieces(), 1u);
  discard.discard(memory.page(4, 2), {});
  EXPECT_EQ(discard.pieces(), 1u);
  discard.discard(memory.page(0), {});
  EXPECT_EQ(discard.pieces(), 2u);
}

// A process has a limited number of mappings: a guest that gives every second page must not use
// them up, and has its zeros all the same.
TEST(PageDiscardOfAClone, EverySecondPageMakesNoMorePiecesThanAllowed) {
  Memory memory(PageDiscard::Below::kFile);
  memory.fill();
  PageDiscard discard = memory.discard(4);
  for (std::size_t page = 0; page < kPages; page += 2)
    EXPECT_EQ(discard.discard(memory.page(page), {}), 1u);
  EXPECT_EQ(discard.pieces(), 4u);
  for (std::size_t page = 0; page < kPages; ++page)
    EXPECT_TRUE(is(memory.page(page), page % 2 == 0 ? std::byte{0} : kNew)) << page;
  EXPECT_TRUE(memory.written().contains(kPages - 2));
  // All of it is one piece, so there is room again.
  EXPECT_EQ(discard.discard(memory.page(0, kPages / 2), {}), kPages / 2);
  EXPECT_EQ(discard.pieces(), 1u);
}

}  // namespace
}  // namespace clonesafe
