// page: the agent's end of the generation page: pinned, registered with the VMM, and published in
// the order that keeps every reader right.
#ifndef CLONESAFE_GUEST_AGENT_PAGE_PUBLISHED_PAGE_H_
#define CLONESAFE_GUEST_AGENT_PAGE_PUBLISHED_PAGE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "guest_agent/base/bytes.h"
#include "guest_agent/page/pin.h"
#include "guest_agent/sources/words.h"
#include "libclonesafe/page/generation_page_writer.h"

namespace clonesafe::agent {

// What the VMM has to know to write the page before a restored guest's first instruction.
struct PageRegistration {
  std::uint64_t address = 0;
  Id16 nonce = {};

  bool operator==(const PageRegistration&) const = default;
};

class PublishedPage {
 public:
  // Opens or makes the page at `path` and pins it. `restore` and `diversifier` go into a page that
  // has to be made; it says `repairing`. An existing page is left as it is.
  static Result<PublishedPage> open(const std::string& path, const Restore& restore,
                                    const Bytes32& diversifier);

  bool created() const { return writer_.created(); }
  const PagePin& pin() const { return pin_; }

  // The slot in force, and the control word a commit has to be based on. Read it *before* the words
  // that the new slot is made from: then a restore in between refuses the commit.
  Result<GenerationSnapshot> read() const { return writer_.read(); }
  // False: the VMM restored this guest since `base` was read. Look at the words again.
  bool commit(std::uint64_t base, const clonesafe_generation_slot& slot) {
    return writer_.commit(base, slot).has_value();
  }

  // Where the page is now. The nonce is drawn once, at the first call, and then kept, also over
  // restores and restarts: a nonce that changed while the VMM holds the old one would leave a
  // moment in which a restore finds nothing it may write.
  Result<PageRegistration> registration();

 private:
  explicit PublishedPage(GenerationPageWriter writer) : writer_(std::move(writer)) {}

  GenerationPageWriter writer_;
  PagePin pin_;
};

// A slot that tells of `restore`, before or after its repair.
clonesafe_generation_slot make_slot(const Restore& restore, const Bytes32& diversifier,
                                    std::uint64_t kernel_rng_epoch,
                                    clonesafe_generation_state state, clonesafe_tier tier);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_PAGE_PUBLISHED_PAGE_H_
