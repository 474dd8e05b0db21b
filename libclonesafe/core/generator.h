#ifndef CLONESAFE_CORE_GENERATOR_H_
#define CLONESAFE_CORE_GENERATOR_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "libclonesafe/core/fork_lock.h"
#include "libclonesafe/core/seams.h"
#include "libclonesafe/core/separation.h"
#include "libclonesafe/core/sources.h"
#include "libclonesafe/core/stream.h"

namespace clonesafe::core {

class ThreadState;

// What all threads of the process share.
struct Process {
  Sources sources;
  Primitives primitives;
  SharedKnown known;
  std::atomic<Core> core = Core::kChaCha20;   // of the threads that begin from now on
  std::atomic<std::uint64_t> generators = 0;  // how many were made; numbers them
  ForkLock states_lock;
  ThreadState* states = nullptr;  // in a child also those of its parent's threads
};

// What a thread must not share with a child or a clone. It stands in a page of its own, which the
// kernel zeroes in a child of fork; all zeros means that it was never seeded.
struct Secrets {
  static constexpr std::size_t kBlockSize = 1024;
  // The first after a seeding is short: a thread that draws once in each clone need not wait for a
  // whole one.
  static constexpr std::size_t kFirstBlockSize = 128;

  Stamp stamp;  // read before the seed material was
  bool seeded;
  // Every request is mixed with bytes of the kernel's: nothing here tells of a restore in time.
  bool mix_each_request;
  std::uint32_t position;  // of the first byte of `block` that wasn't given out
  std::uint32_t seeded_from;
  std::uint64_t bytes_since_seeding;
  std::int64_t seeded_at_ns;
  std::uint8_t key[kKeySize];
  std::uint8_t block[kBlockSize];  // what was given out is zeroed
};

// The clone-safe generator of one thread: fast-key-erasure ChaCha20, reseeded whenever the stamp
// moves.
//
// The order that makes it safe: the stamp is read and kept *before* the seed material, so that a
// restore between the two shows as a stamp that moved; it is read again after the key is derived,
// and again after the bytes were generated. A draw during which it moved is thrown away.
class Generator {
 public:
  Generator(Process& process, Secrets& secrets, StreamContext& stream, std::uint64_t number)
      : process_(process), secrets_(secrets), stream_(stream), number_(number) {}

  // 0 or a CS_E_ code; on failure the buffer is zeroed.
  int draw(std::uint8_t* output, std::size_t length) {
    // The fast path: two stamps and a copy. The first stamp keeps stale bytes from being given out
    // at all, the second catches a snapshot taken during the copy.
    if (secrets_.seeded && length <= Secrets::kBlockSize - secrets_.position &&
        secrets_.stamp == process_.sources.stamp()) [[likely]] {
      take(output, length);
      stop_at(StopPoint::kAfterGenerate);
      if (secrets_.stamp == process_.sources.stamp()) [[likely]] {
        stop_at(StopPoint::kAfterPostCheck);
        return 0;
      }
    }
    return draw_slowly(output, length);
  }

  // As draw, seeded anew before.
  int draw_fresh(std::uint8_t* output, std::size_t length) {
    return draw_slowly(output, length, true);
  }

  // Wipes what would be drawn next. The key stays, from which nothing is made any more but, with
  // new seed material, the next one: what was gathered before is not lost.
  void forget() { forget({}); }

  std::uint32_t seeded_from() const { return secrets_.seeded_from; }
  // Whether the source that it was last seeded from tells of a restore before anything else runs.
  bool told_in_time() const { return secrets_.seeded && !secrets_.mix_each_request; }

 private:
  struct Gathered;

  void take(std::uint8_t* output, std::size_t length) {
    std::uint8_t* from = secrets_.block + secrets_.position;
    std::memcpy(output, from, length);
    std::memset(from, 0, length);
    secrets_.position += static_cast<std::uint32_t>(length);
    // The bytes are out before the stamp is looked at again. A snapshot falls between two
    // instructions of a processor, so program order is all it takes.
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
  }

  int draw_slowly(std::uint8_t* output, std::size_t length, bool fresh = false);
  int generate(std::uint8_t* output, std::size_t length);
  int generate_mixed(std::uint8_t* output, std::size_t length);
  bool must_seed(const Stamp& now) const;
  int seed();
  int gather(const Stamp& stamp, Gathered& gathered);
  int mix(const Stamp& stamp, const Gathered& gathered);
  void forget(const Stamp& stamp);

  Process& process_;
  Secrets& secrets_;
  StreamContext& stream_;
  std::uint64_t number_;
  // The stamp at which waiting for separation was given up.
  Stamp refused_;
};

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_GENERATOR_H_
