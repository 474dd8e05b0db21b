// Secret pages as the kernel keeps them.
#include "tests/unit/agent/secret_fixture.h"

namespace clonesafe::agent {
namespace {

// With the kernel's own pins: where a page is does not change, and is told only to root.
TEST(SecretPinsTest, PinsAPageOfATmpfs) {
  auto pins = open_secret_pins(4);
  if (!pins) GTEST_SKIP() << pins.error().message();
  const TmpfsFolder folder;
  const auto files = SecretFiles::open(folder / "secrets");
  ASSERT_TRUE(files) << files.error().message();
  const SecretName one = {.nonce = id(1), .user = 1}, two = {.nonce = id(2), .user = 2};
  auto page = files->create(one), other = files->create(two);
  ASSERT_TRUE(page && other);
  auto address = (*pins)->pin(3, page->get());
  if (!address) GTEST_SKIP() << address.error().message();
  auto next = (*pins)->pin(0, other->get());
  ASSERT_TRUE(next) << next.error().message();
  EXPECT_NE(*address, *next);
  EXPECT_EQ(*address % 4096, 0U);
  (*pins)->unpin(0);
  EXPECT_TRUE((*pins)->pin(0, other->get()));
  EXPECT_FALSE((*pins)->pin(4, other->get())) << "there is no slot 4";
}

TEST(SecretFilesTest, FolderThatOthersCanEnterIsRefused) {
  const TmpfsFolder folder;
  ASSERT_EQ(::mkdir((folder / "secrets").c_str(), 0700), 0);
  ASSERT_EQ(::chmod((folder / "secrets").c_str(), 0755), 0);
  EXPECT_FALSE(SecretFiles::open(folder / "secrets"));
}

TEST(SecretFilesTest, OtherFilesAreNoSecrets) {
  const TmpfsFolder folder;
  const auto files = SecretFiles::open(folder / "secrets");
  for (const char* const name :
       {"x", "1000", "1000-", "-00", "1000-zz", "99999999999-00112233445566778899aabbccddeeff"})
    std::ofstream(folder / "secrets" + "/" + name) << "x";
  EXPECT_TRUE(files->list()->empty());
  ASSERT_TRUE(files->create({.nonce = id(3), .user = 1000}));
  EXPECT_EQ(files->list()->size(), 1U);
  EXPECT_FALSE(files->create({.nonce = id(3), .user = 1000})) << "it is there already";
}

}  // namespace
}  // namespace clonesafe::agent
