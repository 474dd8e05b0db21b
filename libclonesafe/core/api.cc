// The C functions of clonesafe.h over the classes of this folder.
#include <cerrno>
#include <cstring>

#include "clonesafe/clonesafe.h"
#include "libclonesafe/core/randomness.h"
#include "libclonesafe/core/thread_state.h"

namespace {

using namespace clonesafe;
using namespace clonesafe::core;

// Callers don't expect a source of random bytes to change errno.
class KeepErrno {
 public:
  KeepErrno() : kept_(errno) {}
  ~KeepErrno() { errno = kept_; }

 private:
  int kept_;
};

// No structure of any later version will be as large: a length that is none.
constexpr std::size_t kMostStatusSize = 4096;

struct View {
  Stamp stamp;
  bool page_usable = false;
  clonesafe_generation_slot slot = {};
  Repetition repetition;
};

// The slot that belongs to the stamp it returns with.
int look(Process& shared, View& view) {
  constexpr int kTries = 4;
  for (int i = 0; i < kTries; ++i) {
    view.stamp = shared.sources.stamp();
    view.page_usable = false;
    view.slot = {};
    view.repetition = {};
    if (view.stamp.page == &kNoPage) return 0;
    GenerationSnapshot snapshot;
    const PageCondition condition = read_generation_page(*view.stamp.page, snapshot);
    if (condition == PageCondition::kUnsettled) continue;
    if (condition != PageCondition::kUsable) return 0;
    if (snapshot.control != view.stamp.control) continue;
    view.page_usable = true;
    view.slot = snapshot.slot;
    view.repetition = shared.known.note(view.stamp.fork, view.stamp.page, snapshot);
    return 0;
  }
  return CS_E_UNSTABLE;
}

cs_stamp stamp_of(const View& view) {
  cs_stamp stamp = {};
  stamp.generation = view.page_usable ? view.slot.generation : view.stamp.counter;
  stamp.reseed_epoch = view.page_usable ? view.slot.reseed_epoch : view.stamp.counter;
  stamp.kernel_rng_epoch = view.slot.kernel_rng_epoch;
  stamp.forks = view.stamp.fork;
  stamp.words[0] = reinterpret_cast<std::uintptr_t>(&view.stamp.page->control);
  stamp.words[1] = view.stamp.control;
  stamp.words[2] = view.stamp.counter;
  // A host that gives a restore the numbers of an earlier one is noticed all the same.
  stamp.words[3] = view.page_usable ? 1 + view.repetition.so_far : 0;
  return stamp;
}

std::uint32_t tier_of(const Process& shared, const View& view) {
  if (shared.sources.has_counter()) return CS_TIER_WORD;
  if (!view.page_usable) return CS_TIER_NONE;
  // A tier that this library doesn't know promises nothing that it could rely on.
  return view.slot.tier <= CLONESAFE_TIER_WORD ? view.slot.tier : std::uint32_t{CS_TIER_LAGGING};
}

const char* word_problem(std::uint32_t tier, const View& view) {
  if (tier == CS_TIER_WORD) return nullptr;
  if (!view.page_usable) return "no source: see page_problem, vmclock_problem and memory_problem";
  if (tier == CS_TIER_LAGGING) {
    return "a plain page: no VMM fills it before the first instruction, the agent does later";
  }
  if (tier == CS_TIER_ANNOUNCED) {
    return "a plain page: no VMM fills it, but programs are frozen until the agent has";
  }
  return "the agent sees no source of its own";
}

const char* kernel_problem() {
  const int error = last_kernel_random_error();
  if (error == 0) return nullptr;
  const char* const text = ::strerrordesc_np(-error);
  return text != nullptr ? text : "unknown error";
}

// What a seeding of the calling thread would see now.
Sighting sighting_of(const Process& shared, const View& view) {
  std::uint64_t hardware[4] = {};
  Sighting sighting = {.page_usable = view.page_usable,
                       .slot = view.slot,
                       .has_counter = shared.sources.has_counter(),
                       .counter = view.stamp.counter,
                       .counter_separates = shared.sources.counter_id() != nullptr,
                       .hardware_random = fill_hardware_random(hardware),
                       .repetition = view.repetition};
  wipe(hardware, sizeof(hardware));
  return sighting;
}

// Before there is a process, and if there never can be one: equal to no stamp.
constinit const cs_live_words kNoWords = {
    .control = &kNoPage.control, .counter = &kNoPage.control, .fork = &kNoPage.control};

// Whether a stamp taken now would have the same words. False too where a child has no fork word of
// its own yet.
[[gnu::always_inline]] inline bool is_still(const cs_live_words& live, const cs_stamp& stamp) {
  const auto load = [](const auto& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); };
  const std::uint64_t* const control = load(live.control);
  return reinterpret_cast<std::uintptr_t>(control) == stamp.words[0] &&
         load(*control) == stamp.words[1] && load(*load(live.counter)) == stamp.words[2] &&
         load(*load(live.fork)) == stamp.forks;
}

[[gnu::noinline]] int changed_slowly(const cs_stamp* stamp) {
  constexpr int kEverything = CS_CHANGED_GENERATION | CS_CHANGED_RESEED | CS_CHANGED_FORK;
  if (stamp == nullptr) return kEverything;
  Process* const shared = process();
  if (shared == nullptr) return kEverything;
  const cs_stamp& since = *stamp;
  View view;
  if (look(*shared, view) != 0) return CS_CHANGED_GENERATION | CS_CHANGED_RESEED;
  if (is_still(shared->sources.live(), since)) return 0;
  const cs_stamp now = stamp_of(view);
  int changes = 0;
  if (now.forks != since.forks) changes |= CS_CHANGED_FORK | CS_CHANGED_RESEED;
  if (now.generation != since.generation || now.words[2] != since.words[2] ||
      now.words[3] != since.words[3]) {
    changes |= CS_CHANGED_GENERATION | CS_CHANGED_RESEED;
  }
  if (now.reseed_epoch != since.reseed_epoch) changes |= CS_CHANGED_RESEED;
  return changes;
}

using Draw = int (ThreadState::*)(std::uint8_t*, std::size_t);

[[gnu::always_inline]] inline int draw_by(void* buffer, size_t length, Draw draw) {
  if (length == 0) return 0;
  if (buffer == nullptr || length > PTRDIFF_MAX) return CS_E_INVALID;
  int error = 0;
  ThreadState* state = ThreadState::existing();
  if (state == nullptr) [[unlikely]] {
    const KeepErrno keep;
    state = ThreadState::current(error);
    if (state == nullptr) {
      wipe(buffer, length);
      return error;
    }
  }
  error = (state->*draw)(static_cast<std::uint8_t*>(buffer), length);
  if (error == CS_E_BUSY) wipe(buffer, length);
  return error;
}

}  // namespace

int cs_init(void) {
  const KeepErrno keep;
  int error = 0;
  return ThreadState::current(error) != nullptr ? 0 : error;
}

int cs_random(void* buffer, size_t length) {
  return draw_by(buffer, length, &ThreadState::draw);
}

int cs_random_private(void* buffer, size_t length) {
  return draw_by(buffer, length, &ThreadState::draw_private);
}

int cs_random_fresh(void* buffer, size_t length) {
  return draw_by(buffer, length, &ThreadState::draw_fresh);
}

int cs_use_core(int core) {
  if (core != CS_CORE_CHACHA20 && core != CS_CORE_CTR_DRBG) return CS_E_INVALID;
  const KeepErrno keep;
  Process* const shared = process();
  if (shared == nullptr) return CS_E_CRYPTO;
  if (shared->generators.load(std::memory_order_relaxed) != 0) return CS_E_BUSY;
  if (core == CS_CORE_CTR_DRBG && !shared->primitives.has_ctr_drbg()) return CS_E_CRYPTO;
  shared->core.store(core == CS_CORE_CTR_DRBG ? Core::kCtrDrbg : Core::kChaCha20,
                     std::memory_order_relaxed);
  return 0;
}

int cs_generation(struct cs_stamp* stamp) {
  if (stamp == nullptr) return CS_E_INVALID;
  *stamp = {};
  const KeepErrno keep;
  Process* shared = process();
  if (shared == nullptr) return CS_E_CRYPTO;
  View view;
  if (const int result = look(*shared, view); result != 0) return result;
  *stamp = stamp_of(view);
  return 0;
}

int cs_changed(const struct cs_stamp* since) {
  // Nothing is called here, so that it costs no more than its loads.
  const Process* const shared = initialized_process.load(std::memory_order_acquire);
  if (since != nullptr && shared != nullptr && is_still(shared->sources.live(), *since))
      [[likely]] {
    return 0;
  }
  return changed_slowly(since);
}

const struct cs_live_words* cs_live(void) {
  const KeepErrno keep;
  const Process* const shared = process();
  return shared != nullptr ? &shared->sources.live() : &kNoWords;
}

int cs_status(struct cs_status_report* status, size_t size) {
  // The fields up to `stamp` were there from the first version on.
  if (status == nullptr || size < offsetof(struct cs_status_report, stamp) ||
      size > kMostStatusSize) {
    return CS_E_INVALID;
  }
  std::memset(status, 0, size);
  const KeepErrno keep;
  Process* shared = process();
  if (shared == nullptr) return CS_E_CRYPTO;
  shared->sources.rescan();
  View view;
  if (const int result = look(*shared, view); result != 0) return result;

  struct cs_status_report all = {};
  all.tier = tier_of(*shared, view);
  all.state = view.page_usable ? view.slot.state : std::uint32_t{CS_STATE_UNKNOWN};
  if (view.page_usable) all.sources |= CS_SOURCE_PAGE;
  all.sources |= shared->sources.counter_source();
  if (shared->sources.fork_word().wiped_by_kernel()) {
    all.sources |= CS_SOURCE_FORK;
  } else {
    all.fork_problem = "the kernel wipes no page on fork, so only fork(2) itself is noticed";
  }
  all.kernel_problem = kernel_problem();
  if (all.kernel_problem == nullptr) all.sources |= CS_SOURCE_KERNEL_RANDOM;
  const Sighting sighting = sighting_of(*shared, view);
  if (sighting.hardware_random) {
    all.sources |= CS_SOURCE_HARDWARE_RANDOM;
  } else {
    all.processor_problem = "the processor has no RDRAND or RDSEED, or what it gives isn't random";
  }
  if (ThreadState* state = ThreadState::existing(); state != nullptr) {
    all.seeded_from = state->seeded_from();
  }
  all.stamp = stamp_of(view);
  all.host_realtime_ns = view.slot.host_realtime_ns;
  std::memcpy(all.restore_id, view.slot.restore_id, sizeof(all.restore_id));
  std::memcpy(all.vm_generation_id, view.slot.vm_generation_id, sizeof(all.vm_generation_id));
  all.page_path = shared->sources.page_path();
  all.page_problem = shared->sources.page_problem();
  if (all.page_problem == nullptr && !view.page_usable) {
    GenerationSnapshot snapshot;
    all.page_problem = describe(read_generation_page(*view.stamp.page, snapshot));
  }
  all.vmclock_problem = shared->sources.vmclock_problem();
  all.memory_problem = shared->sources.memory_problem();
  all.word_problem = word_problem(all.tier, view);
  const Known known = shared->known.load(view.stamp.fork);
  all.separation = static_cast<std::uint32_t>(separation_of(known, sighting));
  all.repeated = view.repetition.what;
  std::memcpy(status, &all, size < sizeof(all) ? size : sizeof(all));
  return 0;
}

const char* cs_strerror(int code) {
  switch (code) {
    case 0:
      return "success";
    case CS_E_INVALID:
      return "invalid argument";
    case CS_E_NOT_UNIQUE:
      return "this machine was cloned and nothing tells it from its siblings yet";
    case CS_E_ENTROPY:
      return "the kernel gives no random bytes";
    case CS_E_UNSTABLE:
      return "the generation changed at every attempt";
    case CS_E_MEMORY:
      return "out of memory";
    case CS_E_CRYPTO:
      return "libcrypto refused a primitive";
    case CS_E_NOT_COVERED:
      return "no agent and VMM keep memory of this program out of snapshots";
    case CS_E_LIMIT:
      return "this user or this machine has as many secret pages as there can be";
    case CS_E_NO_LEASE:
      return "no worker id is leased to this process in this generation";
    case CS_E_CLOCK:
      return "no identifier is left before the clock has moved on";
    case CS_E_BUSY:
      return "called from inside another call of the same thread";
    case CS_E_STALE:
      return "made in another generation or process";
    default:
      return "unknown error";
  }
}

static_assert(CS_SEPARATION_NONE == int(Separation::kNone) &&
              CS_SEPARATION_KERNEL == int(Separation::kKernel) &&
              CS_SEPARATION_PROCESSOR == int(Separation::kProcessor) &&
              CS_SEPARATION_HOST == int(Separation::kHost));

const char* cs_separation_name(uint32_t separation) {
  switch (separation) {
    case CS_SEPARATION_NONE:
      return "none";
    case CS_SEPARATION_KERNEL:
      return "kernel";
    case CS_SEPARATION_PROCESSOR:
      return "processor";
    case CS_SEPARATION_HOST:
      return "host";
    default:
      return "unknown";
  }
}

static_assert(CS_TIER_NONE == CLONESAFE_TIER_NONE && CS_TIER_LAGGING == CLONESAFE_TIER_LAGGING &&
              CS_TIER_ANNOUNCED == CLONESAFE_TIER_ANNOUNCED && CS_TIER_WORD == CLONESAFE_TIER_WORD);

const char* cs_tier_name(uint32_t tier) {
  return clonesafe::tier_name(tier);
}
