// Secret pages when agents, hosts and programs come and go.
#include "tests/unit/agent/secret_fixture.h"

namespace clonesafe::agent {
namespace {

TEST_F(SecretStoreTest, NextAgentTakesOverWhatIsInUseAndForgetsTheRest) {
  begin();
  const UniqueFd page = program();
  UniqueFd gone = program(1001);
  store_.reset();
  gone.reset();
  start();
  EXPECT_EQ(pins_.pinned.size(), 1U);
  welcome();
  EXPECT_EQ(pages_in_last_list(), 1U);
  EXPECT_NE(host_.lines.back().find("\"address\":\"13000\""), std::string::npos) << "pinned anew";
  EXPECT_EQ(files().size(), 2U);
  answer();
  ASSERT_EQ(files().size(), 1U);
  EXPECT_EQ(page_in(files()[0]).data[0], 's');
}

// Better a snapshot that fails by name than one without the page on its list.
TEST_F(SecretStoreTest, NextAgentThatCanPinNothingLeavesTheHostItsList) {
  begin();
  const UniqueFd page = program();
  store_.reset();
  pins_.broken = true;
  start();
  const std::size_t lines = host_.lines.size();
  welcome();
  EXPECT_EQ(host_.lines.size(), lines);
  EXPECT_NE(store_->status().problem.find("no pins today"), std::string::npos);
  ask();
  EXPECT_EQ(refusals_.size(), 1U);
}

TEST_F(SecretStoreTest, RestoreInTheMiddleOfARequestOnlyDelaysIt) {
  begin();
  ask();
  store_->host_lost();
  EXPECT_TRUE(refusals_.empty());
  welcome();
  EXPECT_EQ(pages_in_last_list(), 1U);
  answer();
  EXPECT_EQ(pages_.size(), 1U);
}

TEST_F(SecretStoreTest, AnswerToAnEarlierListGivesNothing) {
  begin();
  ask();
  const std::string old = host_.lines.back();
  store_->host_lost();
  welcome();
  store_->host_said(SecretsRegistered{.id = "2", .ok = true, .error = {}});
  ASSERT_NE(old.find("\"id\":\"2\""), std::string::npos);
  EXPECT_TRUE(pages_.empty());
}

TEST_F(SecretStoreTest, HostThatDoesNotAnswerIsARefusal) {
  begin();
  ask();
  ASSERT_TRUE(timers_.run_one_of(SecretStore::kPatience));
  ASSERT_EQ(refusals_.size(), 1U);
  // An answer that comes after all gives nothing, and what the host holds leaves with the next.
  answer();
  EXPECT_TRUE(pages_.empty());
  EXPECT_EQ(pages_in_last_list(), 0U);
  answer();
  EXPECT_TRUE(files().empty());
}

TEST_F(SecretStoreTest, RequestsBesideEachOtherShareTheNextList) {
  begin();
  ask();
  ask();
  ask();
  EXPECT_EQ(host_.count("register_secrets"), 2U);
  answer();
  EXPECT_EQ(pages_.size(), 1U);
  EXPECT_EQ(pages_in_last_list(), 3U);
  answer();
  EXPECT_EQ(pages_.size(), 3U);
}

TEST_F(SecretStoreTest, NumberOfPagesIsBoundedForEachUserAndInAll) {
  begin();
  for (std::size_t i = 0; i < SecretStore::kMostOfUser; ++i) {
    ask(1000);
    answer();
  }
  ASSERT_EQ(pages_.size(), SecretStore::kMostOfUser);
  ask(1000);
  ASSERT_EQ(refusals_.size(), 1U);
  EXPECT_EQ(refusals_[0].why, SecretStore::Refusal::kLimit);
  while (pages_.size() < CLONESAFE_SECRET_PAGES_MAX) {
    const std::size_t before = pages_.size();
    ask(0);
    answer();
    ASSERT_EQ(pages_.size(), before + 1);
  }
  EXPECT_LT(host_.lines.back().size(), CLONESAFE_HOST_LINE_MAX);
  ask(0);
  EXPECT_EQ(refusals_.size(), 2U);
  // What is not used any more makes room.
  pages_.clear();
  ask(0);
  answer();
  ask(1000);
  answer();
  EXPECT_EQ(pages_.size(), 1U);
}

// Whether by mistake or not: its own page would stop every snapshot.
TEST_F(SecretStoreTest, HeaderThatTheProgramHasOverwrittenIsPutRight) {
  begin();
  const UniqueFd page = program();
  for (const HostMessage& message :
       {HostMessage(CheckSecrets{}), HostMessage(Prepare{.id = "a", .deadline = {}})}) {
    ASSERT_EQ(::pwrite(page.get(), "AAAAAAAAAAAAAAAA", 16, 0), 16);
    store_->host_said(message);
    const clonesafe_secret_page now = page_in(files()[0]);
    EXPECT_EQ(now.magic, CLONESAFE_SECRET_PAGE_MAGIC);
    EXPECT_EQ("1000-" + hex(now.nonce), files()[0]);
    EXPECT_EQ(now.data[0], 's');
    EXPECT_EQ(pages_in_last_list(), 1U);
    answer();
  }
}

TEST_F(SecretStoreTest, RefusedListIsSentAgain) {
  begin();
  const UniqueFd page = program();
  store_->look();
  answer("not the registered nonce");
  EXPECT_EQ(store_->status().problem, "not the registered nonce");
  const std::size_t lists = host_.count("register_secrets");
  ASSERT_TRUE(timers_.run_one_of(SecretStore::kLook));
  EXPECT_EQ(host_.count("register_secrets"), lists + 1);
  answer();
  EXPECT_EQ(store_->status().problem, "");
}

}  // namespace
}  // namespace clonesafe::agent
