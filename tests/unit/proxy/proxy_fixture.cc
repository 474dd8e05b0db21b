#include "tests/unit/proxy/proxy_fixture.h"

#include <stdlib.h>

#include <memory>

#include "libclonesafe/page/generation_page_writer.h"
#include "tests/support/certificate.h"

namespace clonesafe::proxy {
namespace {

// Of the whole process: the library maps it at its first call, and for good.
class Page {
 public:
  static Page& get() {
    static Page page;
    return page;
  }
  void publish(std::uint64_t generation, std::uint64_t reseed_epoch) {
    slot_.generation = generation;
    slot_.reseed_epoch = reseed_epoch;
    const auto now = writer_->read();
    ASSERT_TRUE(now && writer_->commit(now->control, slot_));
  }
  void clone() { publish(slot_.generation + 1, slot_.reseed_epoch + 1); }
  void resume() { publish(slot_.generation, slot_.reseed_epoch + 1); }
  void set_tier(std::uint32_t tier) {
    slot_.tier = tier;
    resume();
  }

 private:
  Page() {
    const std::string path = folder_ / "generation";
    ::setenv("CLONESAFE_GENERATION_PAGE", path.c_str(), 1);
    slot_.generation = 1;
    slot_.reseed_epoch = 1;
    slot_.kernel_rng_epoch = 1;
    slot_.state = CLONESAFE_STATE_SAFE;
    slot_.tier = CLONESAFE_TIER_WORD;
    writer_ =
        std::make_unique<GenerationPageWriter>(GenerationPageWriter::open(path, slot_).value());
  }

  Folder folder_;
  clonesafe_generation_slot slot_{};
  std::unique_ptr<GenerationPageWriter> writer_;
};

// Before anything asks the library.
const bool kPageIsThere = (Page::get(), true);

}  // namespace

Folder::Folder() {
  std::string name = std::filesystem::temp_directory_path() / "clonesafe-proxy-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  path_ = name;
}
Folder::~Folder() {
  std::error_code none;
  std::filesystem::remove_all(path_, none);
}

void clone_this_machine() {
  Page::get().clone();
}
void resume_this_machine() {
  Page::get().resume();
}

void set_tier_of_this_machine(std::uint32_t tier) {
  Page::get().set_tier(tier);
}

void make_certificate(const Folder& folder, const std::string& name, std::chrono::seconds until) {
  const auto made = support::make_certificate(folder / "", name, until);
  ASSERT_TRUE(made) << made.error().message();
}

ProxyTest::ProxyTest() {
  EXPECT_TRUE(kPageIsThere);
}

}  // namespace clonesafe::proxy
