// The log that a probe writes while a machine is snapshotted and cloned: the one contract between
// probes, runner and analyser. probes/README.md describes it byte by byte for other languages. No
// dependencies; may be included by any probe.
#ifndef CLONESAFE_TESTS_AUDIT_PROBE_LOG_H_
#define CLONESAFE_TESTS_AUDIT_PROBE_LOG_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace clonesafe::audit {

// Page-aligned, so that the log is found again in a memory image. The text ends with its own
// version.
inline constexpr char kProbeLogMagic[32] = "CLONESAFE-AUDIT-PROBE-LOG-v1 \r\n";

inline constexpr std::uint32_t kProbeLogVersion = 1;
inline constexpr std::size_t kProbeLogHeaderSize = 4096;
inline constexpr std::size_t kProbeValueSize = 24;
inline constexpr std::uint64_t kProbeLogCapacity = 32768;

// What a probe may say of itself in ProbeLogHeader::tier; the names are those of cs_status.
enum class ProbeTier : std::uint32_t { unset = 0, none = 1, lagging = 2, announced = 3, word = 4 };

struct ProbeRecord {
  std::byte value[kProbeValueSize];  // what was drawn, zero padded; longer values are cut
  std::uint64_t time_ns;             // CLOCK_MONOTONIC after the draw
};
static_assert(sizeof(ProbeRecord) == 32);

// First page of the log. All but `started`, `completed` and `tier` is written by the runner before
// the probe starts.
struct ProbeLogHeader {
  char magic[32];
  std::uint32_t version;
  std::uint32_t record_size;
  std::uint64_t capacity;  // in records; record i is at index i % capacity
  // The order that makes a snapshot say what was drawn before it: started = i + 1, draw, store
  // record i, completed = i + 1. completed < started at the pause: one value may be *in hand*.
  std::uint64_t started;
  std::uint64_t completed;
  char name[64];       // zero-terminated; also the file's name without ".log"
  std::uint32_t tier;  // ProbeTier; optional
};
static_assert(offsetof(ProbeLogHeader, version) == 32);
static_assert(offsetof(ProbeLogHeader, capacity) == 40);
static_assert(offsetof(ProbeLogHeader, started) == 48);
static_assert(offsetof(ProbeLogHeader, completed) == 56);
static_assert(offsetof(ProbeLogHeader, name) == 64);
static_assert(offsetof(ProbeLogHeader, tier) == 128);

inline constexpr std::size_t probe_log_size(std::uint64_t capacity) {
  return kProbeLogHeaderSize + static_cast<std::size_t>(capacity) * sizeof(ProbeRecord);
}

// Whether a header can be believed: used on mapped logs, collected ones, and candidates in a memory
// image.
inline bool is_probe_log(const ProbeLogHeader& header) {
  return std::memcmp(header.magic, kProbeLogMagic, sizeof header.magic) == 0 &&
         header.version == kProbeLogVersion && header.record_size == sizeof(ProbeRecord) &&
         header.capacity > 0 && header.capacity <= (1U << 24) && header.name[0] != '\0' &&
         std::memchr(header.name, '\0', sizeof header.name) != nullptr;
}

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_PROBE_LOG_H_
