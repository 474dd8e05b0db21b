#ifndef CLONESAFE_PROXY_CORE_BACKOFF_H_
#define CLONESAFE_PROXY_CORE_BACKOFF_H_

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "clonesafe/clonesafe.h"

namespace clonesafe::proxy {

// Pauses between attempts: each a random time up to a bound that doubles (full jitter), so that the
// clones of one snapshot don't come all at once. The random numbers are this clone's own.
class Backoff {
 public:
  using Milliseconds = std::chrono::milliseconds;

  Backoff(Milliseconds first, Milliseconds most) : bound_(first), most_(most) {}

  Milliseconds next() {
    std::uint64_t random = 0;
    // Without one the pause is the longest: others that are stuck may be as late.
    const bool drawn = cs_random(&random, sizeof random) == 0;
    const auto bound = static_cast<std::uint64_t>(bound_.count());
    bound_ = std::min(bound_ * 2, most_);
    return Milliseconds(drawn ? random % (bound + 1) : bound);
  }

 private:
  Milliseconds bound_;
  Milliseconds most_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_BACKOFF_H_
