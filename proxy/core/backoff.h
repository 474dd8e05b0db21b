#ifndef CLONESAFE_PROXY_CORE_BACKOFF_H_
#define CLONESAFE_PROXY_CORE_BACKOFF_H_

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "clonesafe/clonesafe.h"

namespace clonesafe::proxy {

// A random time up to this one, by a number of this clone's own.
inline std::chrono::milliseconds random_pause(std::chrono::milliseconds most) {
  std::uint64_t random = 0;
  // Without one it is the longest: others that are stuck may be as late.
  if (cs_random(&random, sizeof random) != 0) return most;
  return std::chrono::milliseconds(random % (static_cast<std::uint64_t>(most.count()) + 1));
}

// Pauses between attempts: each a random time up to a bound that doubles (full jitter), so that the
// clones of one snapshot don't come all at once. The random numbers are this clone's own.
class Backoff {
 public:
  using Milliseconds = std::chrono::milliseconds;

  Backoff(Milliseconds first, Milliseconds most) : bound_(first), most_(most) {}

  Milliseconds next() {
    const Milliseconds pause = random_pause(bound_);
    bound_ = std::min(bound_ * 2, most_);
    return pause;
  }

 private:
  Milliseconds bound_;
  Milliseconds most_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_BACKOFF_H_
