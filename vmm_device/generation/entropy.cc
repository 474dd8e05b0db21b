#include "vmm_device/generation/entropy.h"

#include <sys/random.h>

#include <cerrno>

namespace clonesafe {

Status SystemEntropy::fill(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail_errno("getrandom");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

}  // namespace clonesafe
