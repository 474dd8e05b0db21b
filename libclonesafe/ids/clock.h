#ifndef CLONESAFE_IDS_CLOCK_H_
#define CLONESAFE_IDS_CLOCK_H_

#include <cstdint>
#include <ctime>

#include "libclonesafe/core/seams.h"

namespace clonesafe::ids {

inline std::int64_t read_clock_ns(clockid_t clock) {
  timespec now = {};
  (void)::clock_gettime(clock, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// Since 1970. A clock that stands before that reads as 0.
inline std::uint64_t realtime_ns() {
  std::int64_t now = 0;
#ifdef CLONESAFE_TESTING
  if (core::seams_for_testing.realtime_ns != nullptr) {
    now = core::seams_for_testing.realtime_ns();
    return now > 0 ? static_cast<std::uint64_t>(now) : 0;
  }
#endif
  now = read_clock_ns(CLOCK_REALTIME);
  return now > 0 ? static_cast<std::uint64_t>(now) : 0;
}

inline std::uint64_t realtime_ms() {
  return realtime_ns() / 1'000'000;
}

}  // namespace clonesafe::ids

#endif  // CLONESAFE_IDS_CLOCK_H_
