// ids: identifiers that no clone, child or other thread makes too: UUIDs, ULIDs and Snowflakes.
//
// The rule of core's generator holds here as well: the stamp is read before anything that goes into
// a value, and compared again when the value is made; a value over which it moved is thrown away.
//
// This header is what a thread remembers of the identifiers that it made.
#ifndef CLONESAFE_IDS_THREAD_IDENTIFIERS_H_
#define CLONESAFE_IDS_THREAD_IDENTIFIERS_H_

#include <cstdint>

#include "libclonesafe/core/sources.h"

namespace clonesafe::ids {

__extension__ using Bits128 = unsigned __int128;

// Of versions 1 and 6, which differ in the order of their fields only.
struct TimeBased {
  core::Stamp stamp;
  bool drawn;  // node and clock sequence belong to `stamp`
  std::uint16_t clock_sequence;
  std::uint8_t node[6];
  std::uint64_t ticks;  // the last one's: 100 ns since 1582-10-15
};

// Of version 7 and of ULIDs.
struct Monotonic {
  core::Stamp stamp;
  bool drawn;                  // `tail` belongs to `stamp`
  std::uint64_t milliseconds;  // the last one's, since 1970
  Bits128 tail;                // its random bits, as a number
};

// Lies in the thread's page that the kernel zeroes in a child of fork. All zeros: made nothing yet.
struct ThreadIdentifiers {
  TimeBased time_based;
  Monotonic uuid7;
  Monotonic ulid;
};

}  // namespace clonesafe::ids

#endif  // CLONESAFE_IDS_THREAD_IDENTIFIERS_H_
