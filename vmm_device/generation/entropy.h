#ifndef CLONESAFE_VMM_DEVICE_GENERATION_ENTROPY_H_
#define CLONESAFE_VMM_DEVICE_GENERATION_ENTROPY_H_

#include <cstddef>
#include <span>

#include "libclonesafe/base/error.h"

namespace clonesafe {

// Where generations, ids and seeds come from. A source must hold no state that fork(2) copies:
// clones are processes forked from one zygote, and a buffer filled before the fork would give all
// of them the same seed.
class EntropySource {
 public:
  virtual ~EntropySource() = default;
  // Fills all of `bytes` or none of it that the caller may use.
  virtual Status fill(std::span<std::byte> bytes) = 0;
};

// The host kernel's generator: one getrandom(2) for each call of up to 256 bytes, nothing kept.
class SystemEntropy final : public EntropySource {
 public:
  Status fill(std::span<std::byte> bytes) override;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_GENERATION_ENTROPY_H_
