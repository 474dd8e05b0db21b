#include "vmm_device/generation/secret_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace clonesafe {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kStart = 0x100000;
constexpr std::size_t kPages = 600;

PageNonce nonce_of(std::size_t page) {
  PageNonce nonce{};
  std::memcpy(nonce.data(), &page, sizeof page);
  nonce[15] = std::byte{1};
  return nonce;
}

class SecretPagesTest : public ::testing::Test {
 protected:
  // As an agent makes it: with a secret behind the header.
  SecretPage make(std::size_t page) {
    clonesafe_secret_page bytes{};
    bytes.magic = CLONESAFE_SECRET_PAGE_MAGIC;
    const PageNonce nonce = nonce_of(page);
    std::memcpy(bytes.nonce, nonce.data(), nonce.size());
    std::memset(bytes.data, 0xa5, sizeof bytes.data);
    std::memcpy(ram_.data() + page * 4096, &bytes, sizeof bytes);
    return at(page);
  }
  static SecretPage at(std::size_t page) {
    return {.address = GuestAddress(kStart + page * 4096), .nonce = nonce_of(page)};
  }
  std::string refusal(std::vector<SecretPage> pages) {
    auto replaced = secrets_.replace(std::move(pages));
    return replaced ? "(accepted)" : replaced.error().message();
  }
  std::vector<std::byte> saved() const {
    StateEncoder encoder;
    secrets_.save(encoder);
    return encoder.take();
  }
  static std::string restored(SecretPages& secrets, std::span<const std::byte> bytes) {
    StateDecoder decoder("secret pages", bytes);
    auto status = secrets.restore(decoder);
    return status ? "" : status.error().message();
  }

  std::vector<std::byte> ram_ = std::vector<std::byte>(kPages * 4096);
  GuestMemory memory_{{{GuestAddress(kStart), std::span(ram_)}}};
  SecretPages secrets_{memory_};
};

TEST_F(SecretPagesTest, RangesAreTheDataOfEachPageAndLeaveTheHeader) {
  ASSERT_TRUE(secrets_.replace({make(7), make(2)}));
  const auto before = ram_;
  const auto ranges = secrets_.ranges();
  ASSERT_TRUE(ranges);
  ASSERT_EQ(ranges->size(), 2u);
  EXPECT_EQ((*ranges)[0].start, GuestAddress(kStart + 2 * 4096 + 32));
  EXPECT_EQ((*ranges)[1].start, GuestAddress(kStart + 7 * 4096 + 32));
  EXPECT_EQ((*ranges)[0].size, 4064u);
  EXPECT_EQ(ram_, before) << "the guest's memory is never written";
}

TEST_F(SecretPagesTest, PageThatIsSomebodyElsesByNowStopsTheSnapshotByName) {
  ASSERT_TRUE(secrets_.replace({make(1), make(3)}));
  std::memset(ram_.data() + 3 * 4096, 0, 8);
  auto ranges = secrets_.ranges();
  ASSERT_FALSE(ranges);
  EXPECT_EQ(ranges.error().message(), "secret page at 0x103000: no secret page there (magic)");
  make(3);
  ram_[3 * 4096 + 8] ^= std::byte{1};
  EXPECT_THAT(secrets_.ranges().error().message(), HasSubstr("not the registered nonce"));
  make(3);
  EXPECT_TRUE(secrets_.ranges());
}

TEST_F(SecretPagesTest, NewListTakesThePlaceOfTheLastOne) {
  ASSERT_TRUE(secrets_.replace({make(1), make(2)}));
  ASSERT_TRUE(secrets_.replace({make(2), make(3)}));
  EXPECT_EQ(secrets_.count(), 2u);
  std::memset(ram_.data() + 1 * 4096, 0, 4096);
  EXPECT_TRUE(secrets_.ranges()) << "page 1 is not looked at any more";
  ASSERT_TRUE(secrets_.replace({}));
  EXPECT_EQ(secrets_.count(), 0u);
}

TEST_F(SecretPagesTest, ListWithOneWrongPageIsRefusedWhole) {
  ASSERT_TRUE(secrets_.replace({make(4)}));
  const SecretPage good = make(5);
  SecretPage other = good;
  other.nonce[0] ^= std::byte{1};
  EXPECT_THAT(refusal({at(4), other}), HasSubstr("0x105000: not the registered nonce"));
  EXPECT_THAT(refusal({good, at(9)}), HasSubstr("0x109000: no secret page there"));
  EXPECT_THAT(refusal({good, good}), HasSubstr("listed more than once"));
  EXPECT_THAT(refusal({{.address = GuestAddress(kStart + 5 * 4096 + 8), .nonce = good.nonce}}),
              HasSubstr("not aligned"));
  EXPECT_THAT(refusal({{.address = GuestAddress(kStart - 4096), .nonce = good.nonce}}),
              HasSubstr("not in the guest's memory"));
  EXPECT_THAT(refusal({{.address = GuestAddress(kStart + kPages * 4096), .nonce = good.nonce}}),
              HasSubstr("not in the guest's memory"));
  EXPECT_EQ(secrets_.count(), 1u);
  EXPECT_EQ(secrets_.ranges()->front().start, GuestAddress(kStart + 4 * 4096 + 32));
}

TEST_F(SecretPagesTest, NumberOfPagesIsBounded) {
  std::vector<SecretPage> pages;
  for (std::size_t i = 0; i < CLONESAFE_SECRET_PAGES_MAX; ++i) pages.push_back(make(i));
  EXPECT_TRUE(secrets_.replace(pages));
  pages.push_back(make(CLONESAFE_SECRET_PAGES_MAX));
  EXPECT_THAT(refusal(pages), HasSubstr("513 secret pages, at most 512"));
}

TEST_F(SecretPagesTest, CloneKeepsTheList) {
  ASSERT_TRUE(secrets_.replace({make(1), make(500)}));
  SecretPages clone(memory_);
  ASSERT_EQ(restored(clone, saved()), "");
  EXPECT_EQ(clone.count(), 2u);
  EXPECT_EQ(clone.ranges()->back().start, GuestAddress(kStart + 500 * 4096 + 32));
}

TEST_F(SecretPagesTest, DamagedSectionIsRefusedAndChangesNothing) {
  ASSERT_TRUE(secrets_.replace({make(1), make(2)}));
  const auto good = saved();
  SecretPages clone(memory_);
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_NE(restored(clone, std::span(good).first(size)), "") << size;
  auto bad = good;
  bad.push_back(std::byte{0});
  EXPECT_THAT(restored(clone, bad), HasSubstr("too many"));
  const auto with = [&](std::size_t at, unsigned value) {
    auto bytes = good;
    bytes[at] = static_cast<std::byte>(value);
    return restored(clone, bytes);
  };
  EXPECT_THAT(with(0, 2), HasSubstr("unknown version 2"));
  EXPECT_THAT(with(4, 0), HasSubstr("0 pages"));
  EXPECT_THAT(with(5, 0xff), HasSubstr("expected 1 to 512"));
  EXPECT_THAT(with(8, 1), HasSubstr("not aligned"));
  EXPECT_THAT(with(9, 0x20), HasSubstr("out of order"));
  EXPECT_THAT(with(16, 15), HasSubstr("expected 16"));
  // The last page, beyond the end of memory.
  EXPECT_THAT(with(8 + 28 + 4, 1), HasSubstr("0x100102000: not in the guest's memory"));
  EXPECT_EQ(clone.count(), 0u);
}

}  // namespace
}  // namespace clonesafe
