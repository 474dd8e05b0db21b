// guest_motion: keeps a guest's devices in motion (a disk, vsock streams, datagrams, timers), and
// looks whether nothing is lost, done twice or wrong.
#ifndef CLONESAFE_TESTS_LAB_NESTED_MOTION_H_
#define CLONESAFE_TESTS_LAB_NESTED_MOTION_H_

#include <atomic>
#include <cstdint>

#include "tests/lab/nested/motion_wire.h"
#include "tests/lab/nested/state_beats.h"

namespace clonesafe::lab {

inline constexpr int kDiskWriters = 4;

// What its processes share.
struct Motion {
  Beats beats;                                      // of it: timers, last_ns, errors
  std::atomic<std::uint64_t> writes[kDiskWriters];  // that were done
  std::atomic<std::uint64_t> reads[kDiskWriters];   // that found what was written
  std::atomic<std::uint64_t> syncs;
  std::atomic<std::uint64_t> acknowledged[kStreams];  // the last record of each stream
  std::atomic<std::uint64_t> connections[kStreams];   // that each had
  std::atomic<std::uint64_t> idle_ends;               // of the stream on which nothing is said
  std::atomic<std::uint64_t> exchanges;               // that went well
  std::atomic<std::uint64_t> broken_exchanges;
  std::atomic<std::uint64_t> failed_connections;
  std::atomic<std::uint64_t> late_connections;  // that nobody answered in time
  std::atomic<std::uint64_t> datagrams;
  std::atomic<bool> settle;          // the disk's writers are asked to stop
  std::atomic<int> settled_writers;  // that have looked at all they wrote, and stopped
};

// Each for ever, on a thread of its own.
void keep_disk(Motion& motion, const char* disk, int writer);
void keep_stream(Motion& motion, int stream);
void keep_idle(Motion& motion);
void keep_exchanges(Motion& motion);
void keep_datagrams(Motion& motion, const char* host);

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_MOTION_H_
