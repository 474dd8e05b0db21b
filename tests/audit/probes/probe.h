// The loop of a probe in C++: map the log, then draw, store and pace for ever. Include it from a
// program with one main().
#ifndef CLONESAFE_TESTS_AUDIT_PROBES_PROBE_H_
#define CLONESAFE_TESTS_AUDIT_PROBES_PROBE_H_

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>

#include "tests/audit/probe_log.h"

namespace clonesafe::audit {

inline std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

class ProbeLog {
 public:
  // Null with a line on stderr when the file is no log.
  static ProbeLogHeader* map(const char* path) {
    const int fd = ::open(path, O_RDWR | O_CLOEXEC);
    struct stat status{};
    if (fd < 0 || ::fstat(fd, &status) != 0) {
      std::fprintf(stderr, "probe: cannot open %s: %m\n", path);
      return nullptr;
    }
    const auto size = static_cast<std::size_t>(status.st_size);
    void* memory = size < kProbeLogHeaderSize
                       ? MAP_FAILED
                       : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    auto* header = static_cast<ProbeLogHeader*>(memory);
    if (memory == MAP_FAILED || !is_probe_log(*header) || size < probe_log_size(header->capacity)) {
      std::fprintf(stderr, "probe: %s is not a probe log\n", path);
      return nullptr;
    }
    return header;
  }

  explicit ProbeLog(ProbeLogHeader* header) : header_(header) {}

  void set_tier(ProbeTier tier) { header_->tier = static_cast<std::uint32_t>(tier); }

  // One numbered draw. `draw` fills the value and returns its size, or 0 if it failed (the number
  // is then not counted).
  template <class Draw>
  bool emit(Draw&& draw) {
    const std::uint64_t index = header_->completed;
    std::atomic_ref(header_->started).store(index + 1, std::memory_order_seq_cst);
    std::byte value[64]{};
    const std::size_t size = draw(std::span(value));
    if (size == 0) return false;
    auto* record = reinterpret_cast<ProbeRecord*>(reinterpret_cast<std::byte*>(header_) +
                                                  kProbeLogHeaderSize) +
                   index % header_->capacity;
    std::memset(record->value, 0, sizeof record->value);
    std::memcpy(record->value, value, std::min(size, sizeof record->value));
    record->time_ns = monotonic_ns();
    std::atomic_ref(header_->completed).store(index + 1, std::memory_order_seq_cst);
    return true;
  }

 private:
  ProbeLogHeader* header_;
};

// Busy without sleeping through the snapshot, and slow enough for the ring: at most about 1000
// draws a second.
inline void pace(std::uint64_t interval_ns = 1'000'000) {
  const std::uint64_t until = monotonic_ns() + interval_ns;
  do {
    sched_yield();
  } while (monotonic_ns() < until);
}

// The whole life of a probe with one log. Returns only when a draw fails.
template <class Draw>
int run_probe(const char* path, Draw&& draw) {
  ProbeLogHeader* header = ProbeLog::map(path);
  if (header == nullptr) return 1;
  ProbeLog log(header);
  while (log.emit(draw)) pace();
  std::fprintf(stderr, "probe: %s: a draw failed\n", header->name);
  return 1;
}

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_PROBES_PROBE_H_
