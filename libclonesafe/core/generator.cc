#include "libclonesafe/core/generator.h"

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "clonesafe/clonesafe.h"
#include "libclonesafe/core/randomness.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace clonesafe::core {
namespace {

constexpr int kDrawTries = 8;
constexpr int kSeedTries = 8;
// A generator is reseeded by itself too, against a key that leaked.
constexpr std::uint64_t kReseedBytes = std::uint64_t{1} << 20;
constexpr std::int64_t kReseedNs = 300'000'000'000;
constexpr long kWaitStepNs = 1'000'000;

constexpr char kInfo[] = "clonesafe random v1";

long uniqueness_wait_ms() {
#ifdef CLONESAFE_TESTING
  return seams_for_testing.uniqueness_wait_ms;
#else
  return 1000;
#endif
}

// What differs between the threads and the moments of one machine, but not between its siblings.
struct LocalInputs {
  std::uint64_t process;
  std::uint64_t ticks;
  std::int64_t monotonic_ns;
  std::int64_t realtime_ns;
};

std::int64_t clock_ns(clockid_t clock) {
  timespec now = {};
  (void)::clock_gettime(clock, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

LocalInputs read_local_inputs(const ForkWord& fork_word) {
#ifdef CLONESAFE_TESTING
  if (seams_for_testing.freeze_local_inputs) return {};
#endif
  LocalInputs inputs = {};
  // The word is as good, without a system call.
  if (!fork_word.wiped_by_kernel()) inputs.process = static_cast<std::uint64_t>(::getpid());
#if defined(__x86_64__)
  inputs.ticks = __rdtsc();
#endif
  inputs.monotonic_ns = clock_ns(CLOCK_MONOTONIC);
  inputs.realtime_ns = clock_ns(CLOCK_REALTIME);
  return inputs;
}

// Seed material: fields, each with its number and its length before it, so that no two sets of
// fields make the same bytes.
class Material {
 public:
  ~Material() { wipe(bytes_, used_); }
  void add(std::uint8_t field, const void* data, std::size_t length) {
    bytes_[used_++] = field;
    const auto prefix = static_cast<std::uint32_t>(length);
    std::memcpy(bytes_ + used_, &prefix, sizeof(prefix));
    used_ += sizeof(prefix);
    std::memcpy(bytes_ + used_, data, length);
    used_ += length;
  }
  template <typename T>
  void add(std::uint8_t field, const T& value) {
    add(field, &value, sizeof(value));
  }
  const std::uint8_t* data() const { return bytes_; }
  std::size_t size() const { return used_; }

 private:
  std::uint8_t bytes_[512];
  std::size_t used_ = 0;
};

}  // namespace

struct Generator::Gathered {
  Sighting sighting;
  std::uint8_t kernel[kKeySize] = {};
  std::uint64_t hardware[4] = {};
  std::uint8_t counter_id[16] = {};

  ~Gathered() {
    wipe(kernel, sizeof(kernel));
    wipe(hardware, sizeof(hardware));
  }
};

int Generator::draw_slowly(std::uint8_t* output, std::size_t length, bool fresh) {
  const int kept_errno = errno;
  int result = CS_E_UNSTABLE;
  for (int i = 0; i < kDrawTries; ++i) {
    stop_at(StopPoint::kBeforeStamp);
    process_.sources.rescan();
    if (fresh || must_seed(process_.sources.stamp())) {
      result = seed();
      if (result != 0) break;
      stop_at(StopPoint::kAfterSeed);
    }
    result = generate(output, length);
    if (result != 0) break;
    stop_at(StopPoint::kAfterGenerate);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (process_.sources.stamp() == secrets_.stamp) {
      stop_at(StopPoint::kAfterPostCheck);
      errno = kept_errno;
      return 0;
    }
    result = CS_E_UNSTABLE;
  }
  wipe(output, length);
  errno = kept_errno;
  return result;
}

bool Generator::must_seed(const Stamp& now) const {
  if (!secrets_.seeded || secrets_.stamp != now) return true;
  if (secrets_.bytes_since_seeding >= kReseedBytes) return true;
  const std::int64_t age = coarse_now_ns() - secrets_.seeded_at_ns;
  return age < 0 || age >= kReseedNs;
}

int Generator::generate(std::uint8_t* output, std::size_t length) {
  secrets_.bytes_since_seeding += length;
  if (secrets_.mix_each_request) return generate_mixed(output, length);
  // A long request goes straight to the caller. What is left in the block stays for the next ones.
  if (length > Secrets::kBlockSize / 2) {
    return stream_.generate(secrets_.key, output, length) ? 0 : CS_E_CRYPTO;
  }
  if (length > Secrets::kBlockSize - secrets_.position) {
    const bool first = secrets_.bytes_since_seeding == length && length <= Secrets::kFirstBlockSize;
    const std::size_t size = first ? Secrets::kFirstBlockSize : Secrets::kBlockSize;
    const std::size_t start = Secrets::kBlockSize - size;
    if (!stream_.generate(secrets_.key, secrets_.block + start, size)) return CS_E_CRYPTO;
    secrets_.position = static_cast<std::uint32_t>(start);
  }
  take(output, length);
  return 0;
}

// Never worse than the kernel's generator, which separates clones some time after a restore, and
// better where the processor has one.
int Generator::generate_mixed(std::uint8_t* output, std::size_t length) {
  std::uint64_t hardware[4] = {};
  if (fill_hardware_random(hardware)) {
    for (std::size_t i = 0; i < kKeySize; ++i) {
      secrets_.key[i] ^= reinterpret_cast<const std::uint8_t*>(hardware)[i];
    }
    wipe(hardware, sizeof(hardware));
  }
  if (!stream_.generate(secrets_.key, output, length)) return CS_E_CRYPTO;
  std::uint8_t kernel[256];
  int result = 0;
  for (std::size_t done = 0; done < length && result == 0;) {
    const std::size_t part = std::min(length - done, sizeof(kernel));
    if (fill_kernel_random(kernel, part) != 0) result = CS_E_ENTROPY;
    for (std::size_t i = 0; i < part; ++i) output[done + i] ^= kernel[i];
    done += part;
  }
  wipe(kernel, std::min(length, sizeof(kernel)));
  return result;
}

void Generator::forget(const Stamp& stamp) {
  secrets_.seeded = false;
  secrets_.stamp = stamp;
  secrets_.position = Secrets::kBlockSize;
  wipe(secrets_.block, sizeof(secrets_.block));
}

int Generator::seed() {
  const std::int64_t deadline = clock_ns(CLOCK_MONOTONIC) + uniqueness_wait_ms() * 1'000'000;
  for (int i = 0; i < kSeedTries;) {
    // The stamp first: see the class's comment.
    const Stamp stamp = process_.sources.stamp();
    stop_at(StopPoint::kAfterStamp);
    forget(stamp);
    Gathered gathered;
    if (const int result = gather(stamp, gathered); result != 0) {
      if (result != CS_E_UNSTABLE) return result;
      ++i;
      continue;
    }
    stop_at(StopPoint::kAfterGather);
    const Known known = process_.known.load(stamp.fork);
    if (!is_separated(known, gathered.sighting)) {
      if (refused_ == stamp) return CS_E_NOT_UNIQUE;
      if (clock_ns(CLOCK_MONOTONIC) >= deadline) {
        refused_ = stamp;
        return CS_E_NOT_UNIQUE;
      }
      const timespec step = {.tv_sec = 0, .tv_nsec = kWaitStepNs};
      (void)::clock_nanosleep(CLOCK_MONOTONIC, 0, &step, nullptr);
      process_.sources.rescan();
      continue;
    }
    if (const int result = mix(stamp, gathered); result != 0) return result;
    if (process_.sources.stamp() == stamp) {
      process_.known.store(stamp.fork, known_after(known, gathered.sighting));
      secrets_.seeded = true;
      return 0;
    }
    ++i;
  }
  return CS_E_UNSTABLE;
}

// CS_E_UNSTABLE if what was read doesn't belong to `stamp`.
int Generator::gather(const Stamp& stamp, Gathered& gathered) {
  Sighting& sighting = gathered.sighting;
  if (stamp.page != &kNoPage) {
    GenerationSnapshot snapshot;
    const PageCondition condition = read_generation_page(*stamp.page, snapshot);
    if (condition == PageCondition::kUnsettled) return CS_E_UNSTABLE;
    if (condition == PageCondition::kUsable) {
      if (snapshot.control != stamp.control) return CS_E_UNSTABLE;
      sighting.page_usable = true;
      sighting.slot = snapshot.slot;
      sighting.repetition = process_.known.note(stamp.fork, stamp.page, snapshot);
    }
  }
  sighting.has_counter = process_.sources.has_counter();
  sighting.counter = stamp.counter;
  // Not torn: if it moves now, so does the stamp.
  if (const std::uint8_t* const id = process_.sources.counter_id(); id != nullptr) {
    sighting.counter_separates = true;
    std::memcpy(gathered.counter_id, id, sizeof(gathered.counter_id));
  }
  sighting.hardware_random = fill_hardware_random(gathered.hardware);
  return fill_kernel_random(gathered.kernel, sizeof(gathered.kernel)) == 0 ? 0 : CS_E_ENTROPY;
}

int Generator::mix(const Stamp& stamp, const Gathered& gathered) {
  const Sighting& sighting = gathered.sighting;
  const clonesafe_generation_slot& slot = sighting.slot;
  Material material;
  if (sighting.page_usable) {
    material.add(1, slot.diversifier);
    material.add(2, slot.vm_generation_id);
    material.add(3, slot.restore_id);
    material.add(4, slot.generation);
    material.add(5, slot.reseed_epoch);
    material.add(6, slot.kernel_rng_epoch);
    material.add(7, slot.host_realtime_ns);
  }
  material.add(8, stamp.counter);
  if (sighting.counter_separates) material.add(13, gathered.counter_id);
  material.add(9, gathered.kernel);
  if (sighting.hardware_random) material.add(10, gathered.hardware);
  material.add(11, stamp.fork);
  const LocalInputs local = read_local_inputs(process_.sources.fork_word());
  material.add(12, local);

  // The generator's number separates threads that are seeded from the same material.
  std::uint8_t info[sizeof(kInfo) + sizeof(number_)];
  std::memcpy(info, kInfo, sizeof(kInfo));
  std::memcpy(info + sizeof(kInfo), &number_, sizeof(number_));
  if (!stream_.derive(secrets_.key, material.data(), material.size(), info, sizeof(info))) {
    return CS_E_CRYPTO;
  }

  const bool told_in_time =
      sighting.has_counter || (sighting.page_usable && slot.tier >= CLONESAFE_TIER_ANNOUNCED);
  secrets_.mix_each_request = !told_in_time;
  secrets_.bytes_since_seeding = 0;
  secrets_.seeded_at_ns = coarse_now_ns();
  std::uint32_t from = CS_SOURCE_KERNEL_RANDOM;
  if (sighting.page_usable) {
    from |= CS_SOURCE_PAGE;
    const auto nonzero = [](std::uint8_t byte) { return byte != 0; };
    if (std::any_of(std::begin(slot.diversifier), std::end(slot.diversifier), nonzero)) {
      from |= CS_SOURCE_DIVERSIFIER;
    }
    if (std::any_of(std::begin(slot.vm_generation_id), std::end(slot.vm_generation_id), nonzero)) {
      from |= CS_SOURCE_VM_GENERATION_ID;
    }
  }
  from |= process_.sources.counter_source();
  if (sighting.hardware_random) from |= CS_SOURCE_HARDWARE_RANDOM;
  secrets_.seeded_from = from;
  return 0;
}

}  // namespace clonesafe::core
