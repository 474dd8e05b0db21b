#ifndef CLONESAFE_PROXY_CORE_TRAFFIC_H_
#define CLONESAFE_PROXY_CORE_TRAFFIC_H_

#include <cstdint>

namespace clonesafe::proxy {

// What was seen of some connections, as the sockets have it (TLS included).
struct Traffic {
  std::uint64_t open = 0;  // now
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
  // Stale ones, by how they were left (Farewell).
  std::uint64_t left_silently = 0;
  std::uint64_t left_by_short_lived_reset = 0;

  Traffic& operator+=(const Traffic& other) {
    open += other.open;
    read_bytes += other.read_bytes;
    written_bytes += other.written_bytes;
    left_silently += other.left_silently;
    left_by_short_lived_reset += other.left_by_short_lived_reset;
    return *this;
  }
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_TRAFFIC_H_
