#include "clonesafe/ids.h"
#include "libclonesafe/ids/clock.h"
#include "libclonesafe/ids/layout.h"
#include "libclonesafe/ids/making.h"
#include "libclonesafe/ids/monotonic.h"

using namespace clonesafe;
using namespace clonesafe::ids;

int cs_ulid(unsigned char ulid[16]) {
  return make_unchanged(ulid, [ulid](core::Generator& generator, ThreadIdentifiers& identifiers,
                                     const core::Stamp& stamp) {
    const auto draw = [&](std::uint8_t* bytes, std::size_t length) {
      return generator.draw(bytes, length);
    };
    Monotonic& state = identifiers.ulid;
    if (const int result = step(state, stamp, realtime_ms(), kUlidTailBits, draw); result != 0) {
      return result;
    }
    put_ulid(state, ulid);
    return 0;
  });
}

uint64_t cs_ulid_time(const unsigned char ulid[16]) {
  return ulid != nullptr ? get_big_endian(ulid, 6) : 0;
}
