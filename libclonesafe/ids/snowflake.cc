// Snowflakes: the lease of a worker id, and the sequence below it.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <new>

#include "clonesafe/ids.h"
#include "libclonesafe/core/thread_state.h"
#include "libclonesafe/ids/clock.h"

using namespace clonesafe;
using namespace clonesafe::ids;
using core::stop_at;
using core::StopPoint;

namespace {

constexpr int kTries = 8;
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();
constexpr std::int64_t kNsOfMs = 1'000'000;
constexpr std::uint64_t kLongestMs = kNever / 4 / kNsOfMs;  // what is longer has no end
// Between two questions to the lessor: from the first to the last of these.
constexpr std::int64_t kFirstPauseNs = kNsOfMs;
constexpr std::int64_t kLastPauseNs = 256 * kNsOfMs;
constexpr std::int64_t kClockPauseNs = 10 * kNsOfMs;

// What ends a lease. A reseed of the machine that goes on after its snapshot doesn't.
constexpr int kEndsLease = CS_CHANGED_GENERATION | CS_CHANGED_FORK;

// A lock of threads that isn't held any more in the child of a process whose other thread held it.
// It is held in the name of a fork word.
class ForkAwareLock {
 public:
  bool try_lock(std::uint64_t fork) {
    std::uint64_t holder = 0;
    if (holder_.compare_exchange_strong(holder, fork, std::memory_order_acquire)) return true;
    return holder != fork &&
           holder_.compare_exchange_strong(holder, fork, std::memory_order_acquire);
  }
  void unlock() { holder_.store(0, std::memory_order_release); }

 private:
  std::atomic<std::uint64_t> holder_ = 0;
};

// What was made under one lease: {milliseconds since the epoch, sequence} of the last identifier.
struct Sequence {
  std::atomic<std::uint64_t> last = 0;
  std::atomic<std::uint64_t> reserved_until_ms = 0;  // Unix; the lessor knows of all up to this
  ForkAwareLock advancing;
};

// Never changed once other threads see it, and freed with the source only: they may be reading it.
struct Lease {
  cs_lease given = {};
  cs_stamp stamp = {};  // read before it was asked for
  std::int64_t expires_ns = kNever;
  Sequence* sequence = nullptr;
  Lease* older = nullptr;
  Sequence own_sequence;  // unless it is the lease of before with a later stamp
};

bool is_same_moment(const cs_stamp& stamp, const core::Stamp& now) {
  return stamp.words[0] == reinterpret_cast<std::uintptr_t>(&now.page->control) &&
         stamp.words[1] == now.control && stamp.words[2] == now.counter && stamp.forks == now.fork;
}

bool is_expired(const Lease& lease) {
  return lease.expires_ns != kNever && read_clock_ns(CLOCK_BOOTTIME) >= lease.expires_ns;
}

void pause_ns(std::int64_t ns) {
  const timespec time = {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  (void)::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
}

bool complete(const cs_snowflake_config* given, cs_snowflake_config& config) {
  config = {};
  if (given != nullptr) {
    config = *given;
  } else {
    config.epoch_ms = CS_SNOWFLAKE_EPOCH_MS;
  }
  if (config.time_bits == 0 && config.worker_bits == 0 && config.sequence_bits == 0) {
    config.time_bits = 41;
    config.worker_bits = 10;
    config.sequence_bits = 12;
  }
  return config.time_bits + config.worker_bits + config.sequence_bits == 63 &&
         config.time_bits >= 1 && config.worker_bits <= 32 && config.sequence_bits >= 1 &&
         config.sequence_bits <= 32 && config.min_tier <= CS_TIER_WORD && config.reserved == 0 &&
         config.epoch_ms <= kUnlimited / 4;
}

}  // namespace

struct cs_snowflake {
  cs_snowflake(const cs_snowflake_config& given_config, const cs_lessor& given_lessor)
      : config(given_config), lessor(given_lessor) {}

  // `needed_ms`, since the epoch: with CS_E_CLOCK, what the clock must show.
  int make(std::uint64_t& id, std::uint64_t& needed_ms);
  // How long to sleep before the clock may show that.
  std::int64_t until_ns(std::uint64_t needed_ms) const;
  void end();

 private:
  std::uint64_t workers() const { return std::uint64_t{1} << config.worker_bits; }
  std::uint64_t unix_ms(const Sequence& sequence) const {
    return (sequence.last.load() >> config.sequence_bits) + config.epoch_ms;
  }

  int lease_at(const core::Stamp& now, Lease*& lease);
  int ask(Lease*& lease);
  Lease* publish(const cs_lease& given, const cs_stamp& stamp, std::int64_t expires_ns,
                 Sequence* sequence);
  void refresh(Lease*& lease, const core::Stamp& now);
  void give_back(const cs_lease& given, int changes, std::uint64_t last_ms) const;
  int take(Lease& lease, std::uint64_t& id, std::uint64_t& needed_ms);
  int reserve(Lease& lease, std::uint64_t ms);

  const cs_snowflake_config config;
  const cs_lessor lessor;
  std::atomic<Lease*> current_ = nullptr;
  ForkAwareLock asking_;
  Lease* newest_ = nullptr;  // guarded by asking_
};

// The order is that of core's generator: the stamp, the lease that holds at it, the identifier, and
// the stamp again.
int cs_snowflake::make(std::uint64_t& id, std::uint64_t& needed_ms) {
  core::Process* shared = core::process();
  if (shared == nullptr) return CS_E_CRYPTO;
  for (int i = 0; i < kTries; ++i) {
    stop_at(StopPoint::kBeforeIdentifierStamp);
    const core::Stamp now = shared->sources.stamp();
    stop_at(StopPoint::kAfterIdentifierStamp);
    Lease* lease = nullptr;
    if (const int result = lease_at(now, lease); result != 0) return result;
    if (lease == nullptr) continue;
    if (const int result = take(*lease, id, needed_ms); result != 0) return result;
    stop_at(StopPoint::kAfterIdentifier);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (shared->sources.stamp() == now && !is_expired(*lease)) {
      stop_at(StopPoint::kAfterIdentifierPostCheck);
      return 0;
    }
    id = 0;
  }
  return CS_E_UNSTABLE;
}

// Leaves `lease` nullptr if a new one was given: the caller's stamp is older than that.
int cs_snowflake::lease_at(const core::Stamp& now, Lease*& lease) {
  lease = current_.load(std::memory_order_acquire);
  if (lease != nullptr && is_same_moment(lease->stamp, now) && !is_expired(*lease)) [[likely]] {
    return 0;
  }
  if (config.min_tier != CS_TIER_NONE) {
    cs_status_report report = {};
    if (const int result = cs_status(&report, sizeof(report)); result != 0) return result;
    if (report.tier < config.min_tier) return CS_E_NO_LEASE;
  }
  const auto holds = [&] {
    return lease != nullptr && (cs_changed(&lease->stamp) & kEndsLease) == 0 && !is_expired(*lease);
  };
  const bool holding = holds();
  if (!asking_.try_lock(now.fork)) return holding ? 0 : CS_E_NO_LEASE;
  lease = current_.load(std::memory_order_acquire);  // another thread may have been here
  int result = 0;
  if (holds()) {
    refresh(lease, now);
  } else {
    result = ask(lease);
    lease = nullptr;
  }
  asking_.unlock();
  return result;
}

// The lease holds, but its stamp is of another moment, which makes each look at it slow.
void cs_snowflake::refresh(Lease*& lease, const core::Stamp& now) {
  cs_stamp stamp = {};
  if (cs_generation(&stamp) != 0 || !is_same_moment(stamp, now) ||
      is_same_moment(lease->stamp, now)) {
    return;
  }
  if ((cs_changed(&lease->stamp) & kEndsLease) != 0) return;
  Lease* later = publish(lease->given, stamp, lease->expires_ns, lease->sequence);
  if (later != nullptr) lease = later;
}

// Ends what `lease` is, and gets another. Holds asking_.
int cs_snowflake::ask(Lease*& lease) {
  if (lease != nullptr) {
    current_.store(nullptr, std::memory_order_release);
    give_back(lease->given, cs_changed(&lease->stamp) & kEndsLease, unix_ms(*lease->sequence));
  }
  // The stamp first: who is cloned while it asks has the same answer as its siblings, and a lease
  // that has ended already.
  cs_stamp stamp = {};
  if (const int result = cs_generation(&stamp); result != 0) return result;
  const std::int64_t asked_ns = read_clock_ns(CLOCK_BOOTTIME);
  cs_lease given = {};
  const int result = lessor.acquire(lessor.context, workers(), &given);
  if (result != 0) return result < 0 ? result : CS_E_INVALID;
  stop_at(StopPoint::kAfterLease);
  const std::uint64_t used_ms = given.used_until_ms != 0 ? given.used_until_ms : realtime_ms();
  if (given.worker >= workers()) {
    give_back(given, cs_changed(&stamp) & kEndsLease, used_ms);
    return CS_E_INVALID;
  }
  std::int64_t expires_ns = kNever;
  if (given.duration_ms != 0 && given.duration_ms < kLongestMs) {
    expires_ns = asked_ns + static_cast<std::int64_t>(given.duration_ms) * kNsOfMs;
  }
  if (publish(given, stamp, expires_ns, nullptr) == nullptr) {
    give_back(given, cs_changed(&stamp) & kEndsLease, used_ms);
    return CS_E_MEMORY;
  }
  // The next millisecond is the first that is surely nobody else's.
  for (int i = 0; i < 2 && given.used_until_ms == 0 && realtime_ms() <= used_ms; ++i) {
    pause_ns(kNsOfMs);
  }
  return 0;
}

// `sequence`: that of the lease of before, nullptr begins one.
Lease* cs_snowflake::publish(const cs_lease& given, const cs_stamp& stamp, std::int64_t expires_ns,
                             Sequence* sequence) {
  void* memory = std::malloc(sizeof(Lease));
  if (memory == nullptr) return nullptr;
  auto* lease = new (memory) Lease;
  lease->given = given;
  lease->stamp = stamp;
  lease->expires_ns = expires_ns;
  lease->sequence = sequence;
  if (sequence == nullptr) {
    const std::uint64_t used_ms = given.used_until_ms != 0 ? given.used_until_ms : realtime_ms();
    const std::uint64_t limit = (std::uint64_t{1} << config.time_bits) - 1;
    if (used_ms >= config.epoch_ms) {
      const std::uint64_t used = std::min(used_ms - config.epoch_ms, limit);
      lease->own_sequence.last = ((used + 1) << config.sequence_bits) - 1;
    }
    lease->own_sequence.reserved_until_ms = lessor.advance != nullptr ? used_ms : kUnlimited;
    lease->sequence = &lease->own_sequence;
  }
  lease->older = newest_;
  newest_ = lease;
  current_.store(lease, std::memory_order_release);
  return lease;
}

void cs_snowflake::give_back(const cs_lease& given, int changes, std::uint64_t last_ms) const {
  if (lessor.release != nullptr) lessor.release(lessor.context, &given, changes, last_ms);
}

int cs_snowflake::take(Lease& lease, std::uint64_t& id, std::uint64_t& needed_ms) {
  const unsigned bits = config.sequence_bits;
  needed_ms = kUnlimited;
  const std::uint64_t clock_ms = realtime_ms();
  if (clock_ms < config.epoch_ms) {
    needed_ms = 0;
    return CS_E_CLOCK;
  }
  const std::uint64_t now_ms = clock_ms - config.epoch_ms;
  if (now_ms >> config.time_bits != 0) return CS_E_CLOCK;
  Sequence& sequence = *lease.sequence;
  std::uint64_t last = sequence.last.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  do {
    // While the clock stands before the last identifier's, the rest of that millisecond is used up.
    next = std::max(last + 1, now_ms << bits);
    const std::uint64_t next_ms = next >> bits;
    if (next_ms > std::max(now_ms, last >> bits)) {
      needed_ms = next_ms;
      return CS_E_CLOCK;
    }
    if (const int result = reserve(lease, next_ms + config.epoch_ms); result != 0) return result;
  } while (!sequence.last.compare_exchange_weak(last, next, std::memory_order_relaxed));
  // Now and then: nothing else here looks for a page that appeared.
  if (next >> bits != last >> bits) core::process()->sources.rescan();
  const std::uint64_t in_sequence = next & ((std::uint64_t{1} << bits) - 1);
  id = (((next >> bits) << config.worker_bits | lease.given.worker) << bits) | in_sequence;
  return 0;
}

// Has the lessor know of all identifiers up to this Unix millisecond.
int cs_snowflake::reserve(Lease& lease, std::uint64_t ms) {
  Sequence& sequence = *lease.sequence;
  while (sequence.reserved_until_ms.load(std::memory_order_acquire) < ms) {
    if (!sequence.advancing.try_lock(lease.stamp.forks)) {
      (void)::sched_yield();
      continue;
    }
    int result = 0;
    if (sequence.reserved_until_ms.load(std::memory_order_relaxed) < ms) {
      std::uint64_t until_ms = ms;
      result = lessor.advance(lessor.context, &lease.given, &until_ms);
      if (result == 0) {
        sequence.reserved_until_ms.store(std::max(until_ms, ms), std::memory_order_release);
      }
    }
    sequence.advancing.unlock();
    if (result != 0) return result < 0 ? result : CS_E_INVALID;
  }
  return 0;
}

std::int64_t cs_snowflake::until_ns(std::uint64_t needed_ms) const {
  const std::uint64_t now_ns = realtime_ns();
  const std::uint64_t then_ms = needed_ms + config.epoch_ms;
  // The clock may be set at any time, so long waits are cut into pieces.
  if (then_ms <= now_ns / kNsOfMs) return 0;
  if (then_ms - now_ns / kNsOfMs > kClockPauseNs / kNsOfMs) return kClockPauseNs;
  return static_cast<std::int64_t>(then_ms * kNsOfMs - now_ns);
}

void cs_snowflake::end() {
  if (Lease* lease = current_.load(); lease != nullptr) {
    give_back(lease->given, cs_changed(&lease->stamp) & kEndsLease, unix_ms(*lease->sequence));
  }
  while (newest_ != nullptr) {
    Lease* lease = newest_;
    newest_ = lease->older;
    std::free(lease);
  }
  if (lessor.destroy != nullptr) lessor.destroy(lessor.context);
}

int cs_snowflake_new(const struct cs_snowflake_config* config, const struct cs_lessor* lessor,
                     cs_snowflake** snowflake) {
  if (snowflake == nullptr) return CS_E_INVALID;
  *snowflake = nullptr;
  cs_snowflake_config complete_config = {};
  if (lessor == nullptr || lessor->acquire == nullptr || !complete(config, complete_config)) {
    return CS_E_INVALID;
  }
  if (core::process() == nullptr) return CS_E_CRYPTO;
  void* memory = std::malloc(sizeof(cs_snowflake));
  if (memory == nullptr) return CS_E_MEMORY;
  *snowflake = new (memory) cs_snowflake(complete_config, *lessor);
  return 0;
}

void cs_snowflake_free(cs_snowflake* snowflake) {
  if (snowflake == nullptr) return;
  const int kept_errno = errno;
  snowflake->end();
  snowflake->~cs_snowflake();
  std::free(snowflake);
  errno = kept_errno;
}

int cs_snowflake_try(cs_snowflake* snowflake, uint64_t* id) {
  return cs_snowflake_next(snowflake, 0, id);
}

int cs_snowflake_next(cs_snowflake* snowflake, int64_t timeout_ms, uint64_t* id) {
  if (id == nullptr) return CS_E_INVALID;
  *id = 0;
  if (snowflake == nullptr) return CS_E_INVALID;
  const int kept_errno = errno;
  std::int64_t deadline_ns = -1;  // read when it comes to that
  std::int64_t lease_pause_ns = kFirstPauseNs;
  int result = 0;
  for (;;) {
    std::uint64_t needed_ms = 0;
    result = snowflake->make(*id, needed_ms);
    if (result != CS_E_NO_LEASE && result != CS_E_CLOCK) break;
    const std::int64_t now_ns = read_clock_ns(CLOCK_MONOTONIC);
    if (deadline_ns < 0) {
      deadline_ns = timeout_ms < 0 || static_cast<std::uint64_t>(timeout_ms) >= kLongestMs
                        ? kNever
                        : now_ns + timeout_ms * kNsOfMs;
    }
    if (now_ns >= deadline_ns || (result == CS_E_CLOCK && needed_ms == kUnlimited)) break;
    std::int64_t wait_ns = lease_pause_ns;
    if (result == CS_E_CLOCK) {
      wait_ns = snowflake->until_ns(needed_ms);
    } else {
      lease_pause_ns = std::min(2 * lease_pause_ns, kLastPauseNs);
    }
    pause_ns(std::min(wait_ns, deadline_ns - now_ns));
  }
  errno = kept_errno;
  return result;
}

int cs_snowflake_split(const struct cs_snowflake_config* config, uint64_t id,
                       struct cs_snowflake_parts* parts) {
  if (parts == nullptr) return CS_E_INVALID;
  *parts = {};
  cs_snowflake_config layout = {};
  if (id >> 63 != 0 || !complete(config, layout)) return CS_E_INVALID;
  parts->sequence = id & ((std::uint64_t{1} << layout.sequence_bits) - 1);
  parts->worker = id >> layout.sequence_bits & ((std::uint64_t{1} << layout.worker_bits) - 1);
  parts->unix_ms = (id >> (layout.sequence_bits + layout.worker_bits)) + layout.epoch_ms;
  return 0;
}
