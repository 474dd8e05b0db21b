#ifndef CLONESAFE_VMM_DEVICE_CORE_LINE_LIMIT_H_
#define CLONESAFE_VMM_DEVICE_CORE_LINE_LIMIT_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace clonesafe {

// For lines of a log that a guest can cause: at most one a second is let through. Not thread-safe.
class LineLimit {
 public:
  using Clock = std::chrono::steady_clock;

  // Nothing: keep this line back. Else what to put behind it: how many were kept back before it.
  std::optional<std::string> pass(Clock::time_point now = Clock::now()) {
    if (passed_at_ && now - *passed_at_ < kBetween) {
      ++kept_back_;
      return std::nullopt;
    }
    passed_at_ = now;
    const std::uint64_t before = std::exchange(kept_back_, 0);
    return before == 0 ? "" : " (and " + std::to_string(before) + " more before)";
  }

 private:
  static constexpr std::chrono::seconds kBetween{1};

  std::optional<Clock::time_point> passed_at_;
  std::uint64_t kept_back_ = 0;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_CORE_LINE_LIMIT_H_
