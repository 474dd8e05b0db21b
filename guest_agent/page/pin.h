#ifndef CLONESAFE_GUEST_AGENT_PAGE_PIN_H_
#define CLONESAFE_GUEST_AGENT_PAGE_PIN_H_

#include <cstdint>
#include <span>
#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {

// Keeps one page at its guest-physical address for as long as this object lives.
//
// A buffer registered with io_uring is pinned for the long term: compaction and migration leave it
// where it is. Where io_uring is not to be had, mlock keeps the page in memory, but the kernel may
// still move it: `is_firm` is false then, and the address has to be looked at again.
class PagePin {
 public:
  PagePin() = default;
  static Result<PagePin> pin(std::span<std::byte> page);

  bool is_firm() const { return static_cast<bool>(ring_); }
  // Why it is not firm, empty if it is.
  const std::string& weakness() const { return weakness_; }

 private:
  UniqueFd ring_;
  std::string weakness_;
};

// The guest-physical address of a page of this process, from /proc/self/pagemap (CAP_SYS_ADMIN).
Result<std::uint64_t> guest_physical_address(std::span<const std::byte> page);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_PAGE_PIN_H_
