#ifndef CLONESAFE_GUEST_AGENT_BASE_ELAPSED_H_
#define CLONESAFE_GUEST_AGENT_BASE_ELAPSED_H_

#include <chrono>
#include <cstdint>

namespace clonesafe::agent {

inline std::uint64_t microseconds_since(std::chrono::steady_clock::time_point start) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                        std::chrono::steady_clock::now() - start)
                                        .count());
}

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_BASE_ELAPSED_H_
