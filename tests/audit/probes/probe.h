// The loop of a probe in C++: map the logs, then draw, store and pace for ever. Include it from a
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
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

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

  // One numbered draw. If it failed, the number is not counted.
  bool emit(const std::function<std::size_t(std::span<std::byte>)>& draw) {
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

// Fills the value and returns its size, or 0 if it failed.
using Draw = std::function<std::size_t(std::span<std::byte> value)>;

// The whole life of a probe of one source, or of several (`a,b,c`) in turn. There are as many
// threads as there are logs for all sources: the first thread's come first, one for each source.
// `make_draw` makes a thread's own source by its name; null: there is none of that name. Returns
// only before the first draw; one that fails ends the process.
inline int run_probe(std::string_view sources, std::span<char* const> paths,
                     const std::function<Draw(std::string_view source, ProbeLog log)>& make_draw) {
  std::vector<std::string> names;
  std::istringstream list{std::string(sources)};
  for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  std::vector<ProbeLogHeader*> headers;
  for (const char* path : paths) {
    headers.push_back(ProbeLog::map(path));
    if (headers.back() == nullptr) return 1;
  }
  if (names.empty() || headers.empty() || headers.size() % names.size() != 0) {
    std::fprintf(stderr, "probe: %zu logs for %zu sources\n", headers.size(), names.size());
    return 1;
  }
  const auto run_thread = [&](std::span<ProbeLogHeader*> logs) {
    std::vector<Draw> draws;
    for (std::size_t i = 0; i < names.size(); ++i)
      draws.push_back(make_draw(names[i], ProbeLog(logs[i])));
    for (;; pace()) {
      for (std::size_t i = 0; i < names.size(); ++i) {
        if (draws[i] && ProbeLog(logs[i]).emit(draws[i])) continue;
        std::fprintf(stderr, "probe: %s: %s\n", logs[i]->name,
                     draws[i] ? "a draw failed" : "no such source");
        std::_Exit(1);
      }
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < headers.size(); i += names.size())
    threads.emplace_back(run_thread, std::span(headers).subspan(i, names.size()));
  for (auto& thread : threads) thread.join();
  return 1;
}

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_PROBES_PROBE_H_
