#include "tests/unit/agent/secret_fixture.h"

namespace clonesafe::agent {
namespace {

TEST_F(SecretStoreTest, ProgramGetsItsPageOnlyWhenTheHostHasAnswered) {
  begin();
  ask();
  EXPECT_TRUE(pages_.empty());
  EXPECT_EQ(pages_in_last_list(), 1U);
  answer();
  ASSERT_EQ(pages_.size(), 1U);
  struct stat status = {};
  ASSERT_EQ(::fstat(pages_[0].get(), &status), 0);
  EXPECT_EQ(status.st_size, 4096);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  ASSERT_EQ(files().size(), 1U);
  const clonesafe_secret_page page = page_in(files()[0]);
  EXPECT_EQ(page.magic, CLONESAFE_SECRET_PAGE_MAGIC);
  EXPECT_EQ("1000-" + hex(page.nonce), files()[0]);
  EXPECT_NE(host_.lines.back().find(hex(page.nonce)), std::string::npos);
  EXPECT_NE(host_.lines.back().find("\"address\":\"11000\""), std::string::npos);
  EXPECT_EQ(store_->status().pages, 1U);
}

TEST_F(SecretStoreTest, WithoutAHostThatKeepsSecretsThereAreNone) {
  start();
  ask();
  welcome(0);
  ask();
  ASSERT_EQ(refusals_.size(), 2U);
  EXPECT_EQ(refusals_[1].why, SecretStore::Refusal::kNotCovered);
  EXPECT_TRUE(host_.lines.empty()) << "a host that doesn't know the message would hang up";
  EXPECT_TRUE(files().empty());
}

// A folder that is only this user's, and that every machine has in another file system.
TEST_F(SecretStoreTest, FolderThatIsInNoTmpfsHoldsNoSecrets) {
  SecretStore store({.folder = "/proc/self/fd",
                     .pins = std::make_unique<FakePins>(pins_),
                     .host = host_,
                     .timers = timers_});
  EXPECT_NE(store.status().problem.find("not in a tmpfs"), std::string::npos);
  store.host_said(Welcome{.host = "test", .words = {}, .secret_pages = 512});
  store.allocate(1, [this](auto page) { refusals_.push_back(std::move(page.error())); });
  EXPECT_EQ(refusals_.size(), 1U);
}

TEST_F(SecretStoreTest, PageThatCanMoveIsNoSecret) {
  begin();
  pins_.broken = true;
  ask();
  ASSERT_EQ(refusals_.size(), 1U);
  EXPECT_EQ(refusals_[0].text, "no pins today");
  EXPECT_TRUE(files().empty());
}

TEST_F(SecretStoreTest, RefusalOfTheHostIsTheProgramsAndTheNextListIsWithoutThePage) {
  begin();
  const UniqueFd held = program();
  ask();
  EXPECT_EQ(pages_in_last_list(), 2U);
  answer("not in the guest's memory");
  ASSERT_EQ(refusals_.size(), 1U);
  EXPECT_EQ(refusals_[0].text, "the host refuses: not in the guest's memory");
  EXPECT_EQ(pages_in_last_list(), 1U);
  EXPECT_EQ(files().size(), 2U) << "until the host has let go of it";
  answer();
  EXPECT_EQ(files().size(), 1U);
  EXPECT_EQ(pins_.pinned.size(), 1U);
  EXPECT_EQ(store_->status().problem, "");
}

TEST_F(SecretStoreTest, PageOfAProgramThatIsGoneIsZerosBeforeTheHostForgetsIt) {
  begin();
  const UniqueFd other = program();
  UniqueFd page = program();
  const std::size_t lists = host_.lines.size();
  ASSERT_TRUE(timers_.run_one_of(SecretStore::kLook));
  EXPECT_EQ(host_.lines.size(), lists) << "nothing has changed";
  page.reset();
  ASSERT_TRUE(timers_.run_one_of(SecretStore::kLook));
  EXPECT_EQ(pages_in_last_list(), 1U);
  EXPECT_EQ(pins_.pinned.size(), 2U);
  ASSERT_EQ(files().size(), 2U);
  int zeros = 0;
  for (const std::string& name : files()) {
    const clonesafe_secret_page left = page_in(name);
    EXPECT_EQ(left.magic, CLONESAFE_SECRET_PAGE_MAGIC) << "the host may look once more";
    zeros += left.data[0] == 0 ? 1 : 0;
  }
  EXPECT_EQ(zeros, 1);
  answer();
  EXPECT_EQ(files().size(), 1U);
  EXPECT_EQ(pins_.pinned.size(), 1U);
}

// A mapping holds it as well as a descriptor.
TEST_F(SecretStoreTest, MappedPageIsInUse) {
  begin();
  UniqueFd page = program();
  auto mapping = Mapping::map("page", 4096, PROT_READ | PROT_WRITE, MAP_SHARED, page.get());
  page.reset();
  store_->look();
  EXPECT_EQ(pages_in_last_list(), 1U);
  EXPECT_EQ(std::memcmp(mapping->data() + CLONESAFE_SECRET_HEADER_SIZE, "secret", 6), 0);
  answer();
  mapping->reset();
  store_->look();
  EXPECT_EQ(pages_in_last_list(), 0U);
}

}  // namespace
}  // namespace clonesafe::agent
