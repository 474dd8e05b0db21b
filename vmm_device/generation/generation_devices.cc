#include "vmm_device/generation/generation_devices.h"

#include <string.h>
#include <time.h>

#include <cstring>
#include <utility>

#include "clonesafe/abi/vmclock.h"

namespace clonesafe {
namespace {

constexpr std::size_t kVmclockSequence = offsetof(clonesafe_vmclock, seq_count);
constexpr std::size_t kRestoreSequence = offsetof(clonesafe_restore_page, sequence);
constexpr std::size_t kMetadata = offsetof(clonesafe_restore_page, metadata);
constexpr std::size_t kMetadataSize = offsetof(clonesafe_restore_page, metadata_size);
constexpr std::size_t kSeedPresent = offsetof(clonesafe_seed_page, present);

// All the randomness of one event, drawn in one call.
struct Draw {
  std::uint64_t generation;
  std::uint64_t reseed_epoch;
  std::uint64_t disruption_marker;
  VmGenerationId vm_generation_id;
  RestoreId restore_id;
  Seed seed;
  Diversifier diversifier;
};
static_assert(std::has_unique_object_representations_v<Draw>);
static_assert(sizeof(Draw) <= 256, "one getrandom(2) call must be able to fill it");

// Holds a draw and leaves no copy of its seed on the stack.
struct SecretDraw {
  Draw draw{};
  SecretDraw() = default;
  SecretDraw(const SecretDraw&) = delete;
  SecretDraw& operator=(const SecretDraw&) = delete;
  ~SecretDraw() { ::explicit_bzero(&draw, sizeof draw); }
};

Result<std::uint64_t> host_realtime_ns() {
  timespec now{};
  if (::clock_gettime(CLOCK_REALTIME, &now) != 0)
    return fail_errno("clock_gettime(CLOCK_REALTIME)");
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

// What a write is about to make true.
struct GenerationDevices::Event {
  Identity identity;
  Seed seed{};
  Diversifier diversifier{};

  Event() = default;
  Event(const Event&) = default;
  Event& operator=(const Event&) = default;
  ~Event() { ::explicit_bzero(seed.data(), seed.size()); }
};

GenerationDevices::GenerationDevices(std::span<std::byte, layout::kGenerationPagesSize> pages,
                                     GenerationOptions options, const GuestMemory& memory)
    : pages_(pages), memory_(memory), options_(options) {}

Result<GenerationDevices::Event> GenerationDevices::draw(EntropySource& entropy,
                                                         RestoreKind kind) const {
  SecretDraw secret;
  Draw& draw = secret.draw;
  if (auto filled = entropy.fill(std::as_writable_bytes(std::span(&draw, 1))); !filled) {
    return fail(std::move(filled).error(), "new generation");
  }
  // Chance does not do this in the life of the universe; a broken source does it the second time.
  if (draw.generation == 0 || draw.reseed_epoch == 0 || draw.disruption_marker == 0 ||
      draw.generation == identity_.generation || draw.reseed_epoch == identity_.reseed_epoch ||
      draw.disruption_marker == identity_.disruption_marker ||
      draw.vm_generation_id == identity_.vm_generation_id ||
      draw.restore_id == identity_.restore_id) {
    return fail("new generation: the entropy source gives zeros or repeats itself");
  }
  const auto now = host_realtime_ns();
  if (!now) return fail(now.error());

  Event event;
  event.identity = identity_;
  event.identity.kind = kind;
  event.identity.reseed_epoch = draw.reseed_epoch;
  event.identity.restore_id = draw.restore_id;
  event.identity.host_realtime_ns = *now;
  event.identity.tsc = {};
  if (kind != RestoreKind::kResume) event.identity.disruption_marker = draw.disruption_marker;
  if (kind == RestoreKind::kBoot || kind == RestoreKind::kClone) {
    event.identity.generation = draw.generation;
    event.identity.vm_generation_id = draw.vm_generation_id;
  }
  if (gives_seed()) event.seed = draw.seed;
  event.diversifier = draw.diversifier;
  // The agent derives its diversifier from the seed: both must come to the same one.
  if (gives_seed() && registration_) {
    auto derived = derive_diversifier(event.seed);
    if (!derived) return fail(std::move(derived).error());
    event.diversifier = *derived;
  }
  return event;
}

Status GenerationDevices::write_boot(EntropySource& entropy) {
  const std::lock_guard lock(mutex_);
  auto event = draw(entropy, RestoreKind::kBoot);
  if (!event) return fail(std::move(event).error());
  registration_.reset();
  registration_ended_.clear();
  for (SharedPage each : {vmgenid_page(), vmclock_page(), restore_page(), seed_page()}) {
    each.zero(0, SharedPage::kSize);
  }
  write_event(*event, std::span<const std::byte>());
  // Nobody has read it yet, and an opened /dev/vmclock0 starts from 0: its first poll() then waits.
  if (options_.vmclock) vmclock_page().store(kVmclockSequence, std::uint32_t{0});
  return {};
}

Status GenerationDevices::write_resume(EntropySource& entropy) {
  const std::lock_guard lock(mutex_);
  auto event = draw(entropy, RestoreKind::kResume);
  if (!event) return fail(std::move(event).error());
  write_event(*event, std::nullopt);
  return {};
}

Status GenerationDevices::write_restore(EntropySource& entropy, RestoreKind kind,
                                        std::span<const std::byte> metadata, TscReading tsc) {
  const std::lock_guard lock(mutex_);
  if (kind != RestoreKind::kClone && kind != RestoreKind::kMove) {
    return fail("restore: a restored machine is a clone or a move, not a " +
                std::string(name_of(kind)));
  }
  if (metadata.size() > CLONESAFE_RESTORE_METADATA_MAX) {
    return fail("restore metadata: " + std::to_string(metadata.size()) + " bytes, at most " +
                std::to_string(CLONESAFE_RESTORE_METADATA_MAX) + " fit");
  }
  if (!metadata.empty() && !options_.restore_page) {
    return fail("restore metadata: the machine has no restore page to show them on");
  }
  auto event = draw(entropy, kind);
  if (!event) return fail(std::move(event).error());
  event->identity.tsc = tsc;
  write_event(*event, metadata);
  return {};
}

// No vCPU runs, but one may have been stopped in the middle of a read: sequences go odd before the
// first field and even after the last, and the seed is whole before it counts as present.
void GenerationDevices::write_event(const Event& event,
                                    std::optional<std::span<const std::byte>> metadata) {
  identity_ = event.identity;
  if (options_.restore_page) restore_page().begin_update(kRestoreSequence);
  clear_seed();
  if (gives_seed()) write_seed(event);
  if (options_.restore_page) {
    write_restore_fields();
    if (metadata) {
      restore_page().zero(kMetadata, CLONESAFE_RESTORE_METADATA_MAX);
      restore_page().store_bytes(kMetadata, *metadata);
      restore_page().store(kMetadataSize, static_cast<std::uint32_t>(metadata->size()));
    }
    restore_page().end_update(kRestoreSequence);
  }
  if (options_.vmgenid) write_vmgenid();
  if (options_.vmclock) {
    vmclock_page().begin_update(kVmclockSequence);
    write_vmclock_fields();
    vmclock_page().end_update(kVmclockSequence);
  }
  write_registration(event);
}

void GenerationDevices::write_vmgenid() {
  vmgenid_page().store_words(0, identity_.vm_generation_id);
}

void GenerationDevices::write_vmclock_fields() {
  // No clock is offered: the counter is invalid, its status unknown, all times zero. Only the
  // generation counter and the notification are there, as with Firecracker.
  constexpr std::uint64_t kFlags =
      CLONESAFE_VMCLOCK_FLAG_VM_GEN_COUNTER_PRESENT | CLONESAFE_VMCLOCK_FLAG_NOTIFICATION_PRESENT;
  SharedPage clock = vmclock_page();
  clock.store(offsetof(clonesafe_vmclock, magic), std::uint32_t{CLONESAFE_VMCLOCK_MAGIC});
  clock.store(offsetof(clonesafe_vmclock, size), std::uint32_t{CLONESAFE_VMCLOCK_SIZE});
  clock.store(offsetof(clonesafe_vmclock, version), std::uint16_t{CLONESAFE_VMCLOCK_VERSION});
  clock.store(offsetof(clonesafe_vmclock, counter_id),
              std::uint8_t{CLONESAFE_VMCLOCK_COUNTER_INVALID});
  clock.store(offsetof(clonesafe_vmclock, time_type), std::uint8_t{CLONESAFE_VMCLOCK_TIME_UTC});
  clock.store(offsetof(clonesafe_vmclock, disruption_marker), identity_.disruption_marker);
  clock.store(offsetof(clonesafe_vmclock, flags), std::uint64_t{kFlags});
  clock.store(offsetof(clonesafe_vmclock, clock_status),
              std::uint8_t{CLONESAFE_VMCLOCK_STATUS_UNKNOWN});
  clock.store(offsetof(clonesafe_vmclock, vm_generation_counter), identity_.generation);
}

void GenerationDevices::write_restore_fields() {
  SharedPage page = restore_page();
  page.store(offsetof(clonesafe_restore_page, magic), std::uint64_t{CLONESAFE_RESTORE_PAGE_MAGIC});
  page.store(offsetof(clonesafe_restore_page, version),
             std::uint32_t{CLONESAFE_RESTORE_PAGE_VERSION});
  page.store(offsetof(clonesafe_restore_page, size), std::uint32_t{CLONESAFE_RESTORE_PAGE_SIZE});
  page.store(offsetof(clonesafe_restore_page, kind), std::to_underlying(identity_.kind));
  page.store(offsetof(clonesafe_restore_page, generation), identity_.generation);
  page.store(offsetof(clonesafe_restore_page, reseed_epoch), identity_.reseed_epoch);
  // A copy of what VMGENID says: zero where there is none.
  page.store_words(offsetof(clonesafe_restore_page, vm_generation_id),
                   options_.vmgenid ? identity_.vm_generation_id : VmGenerationId{});
  page.store_words(offsetof(clonesafe_restore_page, restore_id), identity_.restore_id);
  page.store(offsetof(clonesafe_restore_page, host_realtime_ns), identity_.host_realtime_ns);
  page.store(offsetof(clonesafe_restore_page, tsc_khz), identity_.tsc.khz);
  page.store(offsetof(clonesafe_restore_page, tsc), identity_.tsc.tsc);
  page.store(offsetof(clonesafe_restore_page, seed_page_address),
             std::uint64_t{gives_seed() ? layout::kSeedPage : 0});
}

void GenerationDevices::write_seed(const Event& event) {
  SharedPage page = seed_page();
  page.store(offsetof(clonesafe_seed_page, magic), std::uint64_t{CLONESAFE_SEED_PAGE_MAGIC});
  page.store(offsetof(clonesafe_seed_page, version), std::uint32_t{CLONESAFE_SEED_PAGE_VERSION});
  page.store_words(offsetof(clonesafe_seed_page, restore_id), event.identity.restore_id);
  page.store_words(offsetof(clonesafe_seed_page, seed), event.seed);
  page.store(kSeedPresent, std::uint32_t{1}, std::memory_order_release);
}

// Also when the guest has no seed page: it can write there all the same.
void GenerationDevices::clear_seed() {
  // First not present, then gone: a guest that copies it meanwhile sees that it must not use the
  // copy.
  SharedPage page = seed_page();
  page.store(kSeedPresent, std::uint32_t{0});
  std::atomic_thread_fence(std::memory_order_release);
  page.zero(offsetof(clonesafe_seed_page, seed), CLONESAFE_SEED_SIZE);
}

void GenerationDevices::write_registration(const Event& event) {
  if (!registration_) return;
  const PageEvent page_event{
      .generation = identity_.generation,
      .reseed_epoch = identity_.reseed_epoch,
      .diversifier = event.diversifier,
      .vm_generation_id = options_.vmgenid ? identity_.vm_generation_id : VmGenerationId{},
      .restore_id = identity_.restore_id,
      .host_realtime_ns = identity_.host_realtime_ns};
  if (auto written = write_registered_page(memory_, *registration_, page_event); !written) {
    registration_ended_ = written.error().message();
    registration_.reset();
  }
}

Status GenerationDevices::register_page(GuestAddress address, const PageNonce& nonce) {
  const PageRegistration registration{address, nonce};
  const std::lock_guard lock(mutex_);
  if (!options_.registered_page) return fail("this machine writes no registered page");
  if (auto checked = check_registered_page(memory_, registration); !checked) {
    return fail(std::move(checked).error());
  }
  registration_ = registration;
  registration_ended_.clear();
  return {};
}

void GenerationDevices::wipe_seed() {
  const std::lock_guard lock(mutex_);
  clear_seed();
}

GenerationOptions GenerationDevices::options() const {
  const std::lock_guard lock(mutex_);
  return options_;
}
RestoreKind GenerationDevices::kind() const {
  const std::lock_guard lock(mutex_);
  return identity_.kind;
}
std::uint64_t GenerationDevices::generation() const {
  const std::lock_guard lock(mutex_);
  return identity_.generation;
}
std::uint64_t GenerationDevices::reseed_epoch() const {
  const std::lock_guard lock(mutex_);
  return identity_.reseed_epoch;
}
VmGenerationId GenerationDevices::vm_generation_id() const {
  const std::lock_guard lock(mutex_);
  return identity_.vm_generation_id;
}
RestoreId GenerationDevices::restore_id() const {
  const std::lock_guard lock(mutex_);
  return identity_.restore_id;
}
bool GenerationDevices::seed_present() const {
  return seed_page().load<std::uint32_t>(kSeedPresent) != 0;
}
std::optional<PageRegistration> GenerationDevices::registration() const {
  const std::lock_guard lock(mutex_);
  return registration_;
}
std::string GenerationDevices::registration_ended() const {
  const std::lock_guard lock(mutex_);
  return registration_ended_;
}

}  // namespace clonesafe
