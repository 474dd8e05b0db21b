#include "guest_agent/secrets/secret_store.h"

#include <sys/file.h>
#include <sys/stat.h>

#include "clonesafe/abi/host_protocol.h"
#include "clonesafe/abi/secret_page.h"
#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

// A folder in a tmpfs, as /run/clonesafe is one.
class TmpfsFolder {
 public:
  TmpfsFolder() {
    std::string pattern = "/dev/shm/clonesafe-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~TmpfsFolder() { std::filesystem::remove_all(path_); }
  TmpfsFolder(const TmpfsFolder&) = delete;
  TmpfsFolder& operator=(const TmpfsFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Addresses by slot; what is pinned outlives the store, as a page its agent.
struct PinLog {
  std::map<std::size_t, std::uint64_t> pinned;
  std::uint64_t next = 0x10000;
  bool broken = false;
};
class FakePins : public SecretPins {
 public:
  explicit FakePins(PinLog& log) : log_(log) { log_.pinned.clear(); }
  Result<std::uint64_t> pin(std::size_t slot, int) override {
    if (log_.broken) return fail("no pins today");
    EXPECT_FALSE(log_.pinned.contains(slot));
    return log_.pinned[slot] = log_.next += 0x1000;
  }
  void unpin(std::size_t slot) override { EXPECT_EQ(log_.pinned.erase(slot), 1U); }

 private:
  PinLog& log_;
};

class SecretStoreTest : public testing::Test {
 protected:
  void start() {
    store_.reset();
    store_.emplace(SecretStore::Parts{.folder = folder_ / "secrets",
                                      .pins = std::make_unique<FakePins>(pins_),
                                      .host = host_,
                                      .timers = timers_});
  }
  void welcome(std::uint64_t secret_pages = 512) {
    store_->host_said(Welcome{.host = "test", .words = {}, .secret_pages = secret_pages});
  }
  void begin() {
    start();
    welcome();
    answer();
  }
  // The host's answer to the list it got last.
  void answer(const std::string& error = {}) {
    const std::string& line = host_.lines.back();
    const std::size_t at = line.find("\"id\":\"") + 6;
    store_->host_said(SecretsRegistered{
        .id = line.substr(at, line.find('"', at) - at), .ok = error.empty(), .error = error});
  }
  std::size_t pages_in_last_list() const {
    std::size_t pages = 0;
    for (std::size_t at = 0; (at = host_.lines.back().find("\"nonce\"", at)) != std::string::npos;
         ++at)
      ++pages;
    return pages;
  }
  void ask(uid_t user = 1000) {
    store_->allocate(user, [this](auto page) {
      if (page) {
        pages_.push_back(std::move(*page));
      } else {
        refusals_.push_back(std::move(page.error()));
      }
    });
  }
  // A program with a page, and something in it.
  UniqueFd program(uid_t user = 1000) {
    ask(user);
    answer();
    EXPECT_FALSE(pages_.empty());
    if (pages_.empty()) return {};
    UniqueFd page = std::move(pages_.back());
    pages_.pop_back();
    EXPECT_EQ(::pwrite(page.get(), "secret", 6, CLONESAFE_SECRET_HEADER_SIZE), 6);
    return page;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "secrets"))
      names.push_back(entry.path().filename());
    return names;
  }
  clonesafe_secret_page page_in(const std::string& name) const {
    clonesafe_secret_page page = {};
    const std::string bytes = read_file(folder_ / "secrets" + "/" + name).value_or("");
    EXPECT_EQ(bytes.size(), sizeof page);
    std::memcpy(&page, bytes.data(), std::min(bytes.size(), sizeof page));
    return page;
  }

  TmpfsFolder folder_;
  FakeHost host_;
  ManualTimers timers_;
  PinLog pins_;
  std::optional<SecretStore> store_;
  std::vector<UniqueFd> pages_;
  std::vector<SecretStore::Refused> refusals_;
};

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

TEST_F(SecretStoreTest, FolderOnADiskHoldsNoSecrets) {
  const TemporaryFolder disk;
  SecretStore store({.folder = disk / "secrets",
                     .pins = std::make_unique<FakePins>(pins_),
                     .host = host_,
                     .timers = timers_});
  if (store.status().problem.empty()) GTEST_SKIP() << "the temporary folder is a tmpfs";
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
