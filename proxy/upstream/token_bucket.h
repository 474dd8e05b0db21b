#ifndef CLONESAFE_PROXY_UPSTREAM_TOKEN_BUCKET_H_
#define CLONESAFE_PROXY_UPSTREAM_TOKEN_BUCKET_H_

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace clonesafe::proxy {

// So many a second, and after a rest so many at once.
class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;

  // `rate` 0: no limit.
  TokenBucket(std::uint32_t rate, std::uint32_t burst)
      : interval_(rate == 0 ? Clock::duration() : Clock::duration(std::chrono::seconds(1)) / rate),
        ahead_(interval_ * (std::max<std::uint32_t>(burst, 1) - 1)) {}

  bool limited() const { return interval_.count() != 0; }
  // When the next one may be taken: now, or later.
  Clock::time_point next(Clock::time_point now) const {
    return limited() ? std::max(now, used_until_ - ahead_) : now;
  }
  void take(Clock::time_point now) { used_until_ = std::max(used_until_, now) + interval_; }
  void refill() { used_until_ = {}; }

 private:
  const Clock::duration interval_;
  const Clock::duration ahead_;
  // If each was taken an interval after the one before.
  Clock::time_point used_until_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_TOKEN_BUCKET_H_
