// secrets: memory of programs that is in no snapshot: made, pinned, registered with the host, and
// taken back when its program is gone.
#ifndef CLONESAFE_GUEST_AGENT_SECRETS_SECRET_PINS_H_
#define CLONESAFE_GUEST_AGENT_SECRETS_SECRET_PINS_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// Keeps the pages of secrets at their guest-physical addresses: each slot has room for one.
class SecretPins {
 public:
  virtual ~SecretPins() = default;
  // Pins the one page of the file for the long term, and says where it is.
  virtual Result<std::uint64_t> pin(std::size_t slot, int file) = 0;
  virtual void unpin(std::size_t slot) = 0;
};

// Buffers registered with one io_uring. Where there is none to be had nothing may count as pinned:
// an address that the kernel can change is no place to look for a secret.
Result<std::unique_ptr<SecretPins>> open_secret_pins(std::size_t slots);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SECRETS_SECRET_PINS_H_
