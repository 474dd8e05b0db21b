#ifndef CLONESAFE_TESTS_UNIT_AGENT_SECRET_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_AGENT_SECRET_FIXTURE_H_

#include <sys/stat.h>

#include "clonesafe/abi/host_protocol.h"
#include "clonesafe/abi/secret_page.h"
#include "guest_agent/secrets/secret_store.h"
#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {

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

}  // namespace clonesafe::agent

#endif  // CLONESAFE_TESTS_UNIT_AGENT_SECRET_FIXTURE_H_
