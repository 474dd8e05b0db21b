// core: what carries bytes between an application and its upstream: the fence, sockets, streams,
// and how an upstream is reached. Knows of no protocol above TCP and TLS.
#ifndef CLONESAFE_PROXY_CORE_FENCE_H_
#define CLONESAFE_PROXY_CORE_FENCE_H_

#include <cstdint>

#include "clonesafe/clonesafe.h"

namespace clonesafe::proxy {

// Counts the generations of this machine that a thread has seen, from 1: a connection bears the
// number of the one in which it was opened, and is stale in every later one. A child of fork(2) is
// another generation too, since it holds the same keys.
//
// Not thread-safe: each thread has its own. Works from the generation word alone; without any
// source (CS_TIER_NONE) it never moves.
class Fence {
 public:
  using Epoch = std::uint64_t;

  Fence() { look(); }

  // Some loads while nothing changed.
  Epoch now() noexcept {
    if (cs_changed_inline(&stamp_) != 0) [[unlikely]]
      look();
    return epoch_;
  }

 private:
  void look() noexcept;

  cs_stamp stamp_{};
  Epoch epoch_ = 0;
};

// The epoch in which a connection was opened. One that leads to this machine itself is never stale:
// its other end was cloned along.
class Guard {
 public:
  // Never stale.
  Guard() = default;
  explicit Guard(Fence& fence) : fence_(&fence), opened_(fence.now()) {}

  bool can_be_stale() const noexcept { return fence_ != nullptr; }
  bool stale() const noexcept { return fence_ != nullptr && fence_->now() != opened_; }

 private:
  Fence* fence_ = nullptr;
  Fence::Epoch opened_ = 0;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_FENCE_H_
