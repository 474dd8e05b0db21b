#include "proxy/core/fence.h"

namespace clonesafe::proxy {

void Fence::look() noexcept {
  cs_stamp fresh{};
  if (cs_generation(&fresh) != 0) {
    // It changes while we look: whatever it becomes, what was before is over.
    ++epoch_;
    return;
  }
  // In the source of a snapshot only the reseed epoch moves: its connections are its own.
  if (epoch_ == 0 || fresh.generation != stamp_.generation || fresh.forks != stamp_.forks) ++epoch_;
  stamp_ = fresh;
}

}  // namespace clonesafe::proxy
