// UUIDs of versions 1, 6 and 7.
#include "clonesafe/ids.h"
#include "libclonesafe/ids/clock.h"
#include "libclonesafe/ids/layout.h"
#include "libclonesafe/ids/making.h"
#include "libclonesafe/ids/monotonic.h"

namespace clonesafe::ids {
namespace {

// How far a thread that makes more than one in 100 ns may run before the clock, and how far a clock
// may be set back without a new clock sequence: 1 ms.
constexpr std::uint64_t kAheadTicks = 10'000;

// RFC 9562, 6.10: a random node has the multicast bit, so it is no hardware address.
int renew(TimeBased& state, core::Generator& generator, const core::Stamp& stamp,
          bool next_sequence) {
  std::uint8_t bytes[8];
  state.drawn = false;
  if (const int result = generator.draw(bytes, sizeof(bytes)); result != 0) return result;
  std::memcpy(state.node, bytes, sizeof(state.node));
  state.node[0] |= 1;
  const auto sequence = static_cast<std::uint16_t>(next_sequence ? state.clock_sequence + 1U
                                                                 : get_big_endian(bytes + 6, 2));
  state.clock_sequence = sequence & 0x3fff;
  state.stamp = stamp;
  state.drawn = true;
  return 0;
}

int step(TimeBased& state, core::Generator& generator, const core::Stamp& stamp) {
  core::process()->sources.rescan();
  const std::uint64_t now = realtime_ns() / 100 + kGregorianToUnixTicks;
  if (now >> kTickBits != 0) return CS_E_CLOCK;
  const bool changed = !state.drawn || state.stamp != stamp;
  // A machine that learns of its restore too late may be a clone by now: no two UUIDs of it have
  // their node in common.
  if (changed || !generator.told_in_time()) {
    if (const int result = renew(state, generator, stamp, false); result != 0) return result;
    state.ticks = now;
  } else if (now > state.ticks) {
    state.ticks = now;
  } else if (state.ticks - now < kAheadTicks) {
    state.ticks += 1;
  } else {
    if (const int result = renew(state, generator, stamp, true); result != 0) return result;
    state.ticks = now;
  }
  return 0;
}

template <auto Put>
int make_time_based(unsigned char* uuid) {
  return make_unchanged(uuid, [uuid](core::Generator& generator, ThreadIdentifiers& identifiers,
                                     const core::Stamp& stamp) {
    TimeBased& state = identifiers.time_based;
    if (const int result = step(state, generator, stamp); result != 0) return result;
    Put(state, uuid);
    return 0;
  });
}

}  // namespace
}  // namespace clonesafe::ids

using namespace clonesafe::ids;

int cs_uuid1(unsigned char uuid[16]) {
  return make_time_based<put_uuid1>(uuid);
}

int cs_uuid6(unsigned char uuid[16]) {
  return make_time_based<put_uuid6>(uuid);
}

int cs_uuid7(unsigned char uuid[16]) {
  return make_unchanged(uuid, [uuid](clonesafe::core::Generator& generator,
                                     ThreadIdentifiers& identifiers,
                                     const clonesafe::core::Stamp& stamp) {
    const auto draw = [&](std::uint8_t* bytes, std::size_t length) {
      return generator.draw(bytes, length);
    };
    Monotonic& state = identifiers.uuid7;
    if (const int result = step(state, stamp, realtime_ms(), kUuid7TailBits, draw); result != 0) {
      return result;
    }
    put_uuid7(state, uuid);
    return 0;
  });
}
