#ifndef CLONESAFE_PROXY_UPSTREAM_BREAKER_H_
#define CLONESAFE_PROXY_UPSTREAM_BREAKER_H_

#include <chrono>
#include <cstdint>
#include <optional>

#include "proxy/config/config.h"

namespace clonesafe::proxy {

// A circuit breaker: after so many failures in a row nobody tries, for a time; then one does, and
// what becomes of that decides.
class Breaker {
 public:
  using Clock = std::chrono::steady_clock;

  // `config` outlives it; nothing: it never opens.
  explicit Breaker(const std::optional<BreakerConfig>& config) : config_(config) {}

  bool open() const { return open_; }
  bool refuses(Clock::time_point now) const { return open_ && (trying_ || now < open_until_); }

  // Where it doesn't refuse: an attempt begins. True: it is the one that decides.
  bool begin() {
    trying_ = open_;
    return open_;
  }
  void succeeded() {
    failures_ = 0;
    open_ = trying_ = false;
  }
  // True: it opens by this.
  bool failed(Clock::time_point now, bool decides) {
    if (!config_ || (open_ && !decides)) return false;
    if (++failures_ < config_->failures && !open_) return false;
    const bool opens = !open_;
    open_ = true;
    trying_ = false;
    open_until_ = now + config_->open;
    return opens;
  }
  // What the parent of a clone found says nothing.
  void forget() { succeeded(); }

 private:
  const std::optional<BreakerConfig>& config_;
  std::uint32_t failures_ = 0;
  bool open_ = false;
  bool trying_ = false;
  Clock::time_point open_until_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_BREAKER_H_
