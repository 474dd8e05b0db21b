#ifndef CLONESAFE_IDS_MONOTONIC_H_
#define CLONESAFE_IDS_MONOTONIC_H_

#include <algorithm>

#include "clonesafe/clonesafe.h"
#include "libclonesafe/ids/layout.h"
#include "libclonesafe/ids/thread_identifiers.h"

namespace clonesafe::ids {

// Moves `state` to the next value, which is greater than the last one: RFC 9562, 6.2, method 2.
//
// `draw(bytes, length)` gives clone-safe random bytes. 48 of them are in every step, also within a
// millisecond: where nothing tells of a restore in time, they are what separates siblings.
template <typename Draw>
int step(Monotonic& state, const core::Stamp& stamp, std::uint64_t now_ms, unsigned tail_bits,
         Draw draw) {
  const bool changed = !state.drawn || state.stamp != stamp;
  if (!changed && now_ms <= state.milliseconds) {
    std::uint8_t bytes[6];
    if (const int result = draw(bytes, sizeof(bytes)); result != 0) return result;
    const Bits128 tail = state.tail + 1 + get_big_endian(bytes, sizeof(bytes));
    if (tail >> tail_bits == 0) {
      state.tail = tail;
      return 0;
    }
  }
  // A new millisecond, which after a change or an overflow may lie before the clock's. What was
  // known of the tail is forgotten: a sibling knows it too.
  const std::uint64_t next = std::max(now_ms, state.milliseconds + 1);
  if (next >> kMillisecondBits != 0) return CS_E_CLOCK;
  std::uint8_t bytes[10];
  state.drawn = false;
  if (const int result = draw(bytes, sizeof(bytes)); result != 0) return result;
  state.milliseconds = next;
  state.tail = Bits128{get_big_endian(bytes, 2)} << 64 | get_big_endian(bytes + 2, 8);
  state.tail &= (Bits128{1} << tail_bits) - 1;
  state.stamp = stamp;
  state.drawn = true;
  return 0;
}

}  // namespace clonesafe::ids

#endif  // CLONESAFE_IDS_MONOTONIC_H_
