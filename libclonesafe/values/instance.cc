// The names of this process in this generation.
#include <cerrno>
#include <cstring>
#include <ctime>

#include "clonesafe/values.h"
#include "libclonesafe/core/fork_lock.h"
#include "libclonesafe/core/seams.h"
#include "libclonesafe/values/instance.h"

namespace {

using clonesafe::core::ForkGuard;
using clonesafe::core::ForkLock;

constexpr int kTries = 8;
constexpr std::uint64_t kMost = INT64_MAX;
// Of the epoch's 63 bits. What is above them counts pieces of 18 minutes since 1970, so that a
// program that is started again mostly gets a larger one, and lasts until 2116.
constexpr int kChanceBits = 41;
constexpr int kPieceBits = 40;

struct Names {
  bool there = false;
  cs_stamp stamp = {};
  unsigned char id[16] = {};
  std::uint64_t epoch = 0;
};

// `names` is read only if its stamp is current, and in a child of a fork it never is.
struct State {
  ForkLock lock;
  Names names;
  // Never taken back: neither by a clone nor by a fork.
  std::uint64_t last_epoch = 0;
};
constinit State state;

bool current(const Names& names) {
  return names.there && cs_commit(&names.stamp) == 0;
}

std::uint64_t pieces_since_1970() {
  timespec now = {};
  (void)::clock_gettime(CLOCK_REALTIME, &now);
  const auto ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000;
  return now.tv_sec < 0 ? 0 : ns >> kPieceBits;
}

// 0 if there is none.
std::uint64_t next_epoch(std::uint64_t after, std::uint64_t chance) {
  chance &= (std::uint64_t{1} << kChanceBits) - 1;
  const std::uint64_t by_clock = (pieces_since_1970() << kChanceBits) | chance;
  if (by_clock > after && by_clock <= kMost) return by_clock;
  if (after > kMost - chance - 1) return 0;
  return after + 1 + chance;
}

int draw(Names& names, std::uint64_t& chance) {
  int result = cs_generation(&names.stamp);
  if (result == 0) result = cs_uuid4(names.id);
  if (result == 0) result = cs_random(&chance, sizeof(chance));
  names.there = result == 0;
  clonesafe::core::stop_at(clonesafe::core::StopPoint::kAfterBuild);
  return result;
}

// The names as they are now, with an epoch above `after`. On failure they are zeros.
int names_now(std::uint64_t after, Names& names) {
  int result = CS_E_UNSTABLE;
  for (int i = 0; i < kTries; ++i) {
    Names drawn;
    std::uint64_t chance = 0;
    {
      const ForkGuard guard(state.lock);
      names = state.names;
    }
    const bool known = current(names);
    if (known && names.epoch > after) return 0;
    result = draw(drawn, chance);
    if (result != 0) break;
    {
      const ForkGuard guard(state.lock);
      names = state.names;
      // Another thread may have been first.
      if (!current(names)) {
        names = drawn;
      } else if (names.epoch > after) {
        return 0;
      }
      names.epoch = next_epoch(after > state.last_epoch ? after : state.last_epoch, chance);
      if (names.epoch == 0) {
        result = CS_E_INVALID;
        break;
      }
      state.last_epoch = names.epoch;
      state.names = names;
    }
    if (current(names)) return 0;
    result = CS_E_UNSTABLE;
  }
  names = {};
  return result;
}

}  // namespace

int cs_instance_id(unsigned char id[16]) {
  if (id == nullptr) return CS_E_INVALID;
  std::memset(id, 0, 16);
  Names names;
  const int result = names_now(0, names);
  if (result == 0) std::memcpy(id, names.id, sizeof(names.id));
  return result;
}

int cs_fencing_epoch(uint64_t after, uint64_t* epoch) {
  if (epoch == nullptr) return CS_E_INVALID;
  *epoch = 0;
  Names names;
  const int result = names_now(after, names);
  *epoch = names.epoch;
  return result;
}

#ifdef CLONESAFE_TESTING
void clonesafe::values::forget_names_for_testing() {
  state.names = {};
  state.last_epoch = 0;
}
#endif
