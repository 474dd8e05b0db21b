#ifndef CLONESAFE_VMM_DEVICE_GENERATION_SECRET_PAGES_H_
#define CLONESAFE_VMM_DEVICE_GENERATION_SECRET_PAGES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "clonesafe/abi/secret_page.h"
#include "libclonesafe/base/error.h"
#include "vmm_device/core/guest_memory.h"
#include "vmm_device/core/state_codec.h"
#include "vmm_device/generation/registered_page.h"

namespace clonesafe {

struct SecretPage {
  GuestAddress address;
  PageNonce nonce{};

  bool operator==(const SecretPage&) const = default;
};

// The pages of guest memory whose data must reach no file and no clone
// (docs/formats/secret-page.md). The guest's own memory is never written: whoever keeps it in a
// snapshot puts zeros in place of ranges(). One thread at a time.
class SecretPages {
 public:
  struct Range {
    GuestAddress start;
    std::uint64_t size = 0;
  };

  // `memory` outlives the object.
  explicit SecretPages(const GuestMemory& memory) : memory_(memory) {}

  // The agent's whole list takes the place of the last one. On an error the old one stays.
  Status replace(std::vector<SecretPage> pages);
  std::size_t count() const { return pages_.size(); }
  const std::vector<SecretPage>& pages() const { return pages_; }

  // What must be zeros in all that is kept. An error if a page is not what was registered: its
  // secret may lie elsewhere by now, so nothing may be kept.
  Result<std::vector<Range>> ranges() const;

  // The snapshot's section; there is none of an empty list. The bytes are untrusted; on an error
  // nothing has changed.
  void save(StateEncoder& encoder) const;
  Status restore(StateDecoder& decoder);

 private:
  const GuestMemory& memory_;
  std::vector<SecretPage> pages_;  // in order of address
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_GENERATION_SECRET_PAGES_H_
