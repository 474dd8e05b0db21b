#ifndef CLONESAFE_PROXY_UPSTREAM_UPSTREAM_COUNTS_H_
#define CLONESAFE_PROXY_UPSTREAM_UPSTREAM_COUNTS_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace clonesafe::proxy {

// How long something took, by upper bounds.
struct Durations {
  static constexpr std::array<std::uint32_t, 7> kBoundsMs = {1, 5, 20, 100, 500, 2'000, 10'000};

  std::array<std::uint64_t, kBoundsMs.size()>
      within{};  // those up to this bound, not the one before
  std::uint64_t count = 0;
  std::uint64_t sum_us = 0;

  void add(std::chrono::microseconds time) {
    ++count;
    sum_us += static_cast<std::uint64_t>(time.count());
    for (std::size_t i = 0; i < kBoundsMs.size(); ++i) {
      if (time > std::chrono::milliseconds(kBoundsMs[i])) continue;
      ++within[i];
      return;
    }
  }
  Durations& operator+=(const Durations& other) {
    for (std::size_t i = 0; i < within.size(); ++i) within[i] += other.within[i];
    count += other.count;
    sum_us += other.sum_us;
    return *this;
  }
};

struct UpstreamCounts {
  Durations connects;  // TCP and TLS, of those that came about
  std::uint64_t failed_connects = 0;
  std::uint64_t tls_handshakes = 0;
  std::uint64_t tls_resumed = 0;  // of these, with a ticket
  std::uint64_t breaker_opened = 0;
  std::uint64_t breaker_refused = 0;  // connects that were not tried because of it
  std::uint64_t limit_refused = 0;    // those for which there was no place in time

  UpstreamCounts& operator+=(const UpstreamCounts& other) {
    connects += other.connects;
    failed_connects += other.failed_connects;
    tls_handshakes += other.tls_handshakes;
    tls_resumed += other.tls_resumed;
    breaker_opened += other.breaker_opened;
    breaker_refused += other.breaker_refused;
    limit_refused += other.limit_refused;
    return *this;
  }
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_UPSTREAM_COUNTS_H_
