// Any bytes as the restore page, and as VMCLOCK: what is read must be what a VMM may have said. The
// first byte says whether the page gets a right head, which no mutation would find often.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "clonesafe/abi/restore_page.h"
#include "clonesafe/abi/vmclock.h"
#include "guest_agent/sources/restore_page_source.h"
#include "guest_agent/sources/vmclock_source.h"

using namespace clonesafe::agent;

namespace {

alignas(4096) std::byte page[CLONESAFE_RESTORE_PAGE_SIZE];

void check_restore_page(bool head) {
  auto& fields = *reinterpret_cast<clonesafe_restore_page*>(page);
  if (head) {
    fields.magic = CLONESAFE_RESTORE_PAGE_MAGIC;
    fields.version = CLONESAFE_RESTORE_PAGE_VERSION;
    fields.size = CLONESAFE_RESTORE_PAGE_SIZE;
  }
  const auto words = read_restore_page(page);
  if (!words) return;
  if (fields.sequence % 2 != 0) std::abort();  // in the middle of an update
  if (words->generation == 0 || words->reseed_epoch == 0) std::abort();
  if (words->generation != fields.generation) std::abort();
  const auto kind = static_cast<std::uint32_t>(words->kind);
  if (kind < CLONESAFE_RESTORE_BOOT || kind > CLONESAFE_RESTORE_MOVE) std::abort();
  if (std::all_of(words->restore_id.begin(), words->restore_id.end(),
                  [](auto byte) { return byte == 0; })) {
    std::abort();
  }
}

void check_vmclock(bool head) {
  auto& fields = *reinterpret_cast<clonesafe_vmclock*>(page);
  if (head) {
    fields.magic = CLONESAFE_VMCLOCK_MAGIC;
    fields.version = CLONESAFE_VMCLOCK_VERSION;
  }
  const auto words = read_vmclock(page);
  if (words && fields.seq_count % 2 != 0) std::abort();
  if (words && words->disruption_marker != fields.disruption_marker) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bool head = (data[0] & 1) != 0;
  const auto fill = [&] {
    std::memset(page, 0, sizeof page);
    std::memcpy(page, data + 1, std::min(size - 1, sizeof page));
  };
  fill();
  check_restore_page(head);
  fill();
  check_vmclock(head);
  // A resource may be shorter than the page.
  const auto cut = std::span<const std::byte>(page).first(std::min(size - 1, sizeof page));
  if (cut.size() < sizeof page && read_restore_page(cut)) std::abort();
  return 0;
}
