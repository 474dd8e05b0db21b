#ifndef CLONESAFE_PROXY_UPSTREAM_RETRIES_H_
#define CLONESAFE_PROXY_UPSTREAM_RETRIES_H_

#include <chrono>

#include "proxy/core/backoff.h"

namespace clonesafe::proxy {

// When an upstream that could not be reached is tried again, for all who wait for it: one of them
// tries, after a pause that grows, and the others learn from it.
class Retries {
 public:
  using Clock = std::chrono::steady_clock;

  bool failing() const { return failing_; }
  // While it fails: when one of them may try.
  Clock::time_point next() const { return next_; }
  bool due(Clock::time_point now) const { return !trying_ && now >= next_; }
  bool trying() const { return trying_; }

  void try_one() { trying_ = true; }
  // An attempt, be it that one or somebody's first.
  void succeeded() { forget(); }
  void failed(Clock::time_point now, bool was_the_one) {
    if (was_the_one) trying_ = false;
    // Those that fail together are one.
    if (failing_ && now < next_) return;
    failing_ = true;
    next_ = now + backoff_.next();
  }
  // What the parent of a clone found says nothing.
  void forget() { *this = Retries(); }

 private:
  static constexpr Backoff::Milliseconds kFirst{50}, kLongest{2'000};

  Backoff backoff_{kFirst, kLongest};
  bool failing_ = false;
  bool trying_ = false;
  Clock::time_point next_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_RETRIES_H_
