// generation: the devices that tell a guest that it was restored (VMGENID, VMCLOCK, restore page
// and seed page) and the generation page that its agent registered; no KVM in it, so any VMM can
// embed it.
//
// For an embedder:
//   1. Give the guest four pages (layout.h: kGenerationPages) in E820-reserved space, in a mapping
//      that no snapshot of RAM holds, and describe them in ACPI (vmm_device/acpi does it).
//   2. On a cold start: GenerationDevices, then write_boot(), then run.
//   3. After a snapshot, when the source goes on: write_resume(), then notify, then run.
//   4. In a restored machine: restore() from the snapshot's section, then write_restore(), in the
//      process that runs the clone (after any fork), then notify, then run. No vCPU may run
//      earlier.
//   5. notify: raise kVmclockGsi after each of 3 and 4, kVmgenidGsi after a clone (drivers ignore a
//      notification without a change), once the interrupt controllers are in place.
//   6. wipe_seed() on the agent's report, or after a time limit when there is none.
#ifndef CLONESAFE_VMM_DEVICE_GENERATION_GENERATION_DEVICES_H_
#define CLONESAFE_VMM_DEVICE_GENERATION_GENERATION_DEVICES_H_

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "clonesafe/abi/restore_page.h"
#include "libclonesafe/base/error.h"
#include "libclonesafe/base/restore_kind.h"
#include "vmm_device/core/guest_memory.h"
#include "vmm_device/core/layout.h"
#include "vmm_device/core/state_codec.h"
#include "vmm_device/generation/entropy.h"
#include "vmm_device/generation/registered_page.h"
#include "vmm_device/generation/shared_page.h"
#include "vmm_device/generation/vm_generation_id.h"

namespace clonesafe {

// Which devices the machine has. They are part of the snapshot, because the guest's ACPI tables
// were built for them. A page that is off stays zero. The seed needs the restore page, which names
// it.
struct GenerationOptions {
  bool vmgenid = true;
  bool vmclock = true;
  bool restore_page = true;
  bool seed = true;
  bool registered_page = true;  // whether the agent's page may be registered, to be written here

  bool operator==(const GenerationOptions&) const = default;
};

// A reading of the guest's TSC.
struct TscReading {
  std::uint64_t tsc = 0;
  std::uint32_t khz = 0;  // 0: there is none
};

// What moves when:
//
//                      boot   resume   clone   move
//   restore id, seed   new    new      new     new
//   reseed epoch       new    new      new     new
//   generation         new    -        new     -       (also VMCLOCK's vm_generation_counter)
//   VMGENID            new    -        new     -
//   VMCLOCK marker     new    -        new     new
//   VMCLOCK sequence   0      moves    moves   moves
//
// A resume moves VMCLOCK's sequence though no field changes: neither the clock nor the generation
// did, but poll() on /dev/vmclock0 compares the sequence, and that is how the agent is woken to
// read the restore page. Each write draws all of its randomness first, in one call, and then
// writes: when the entropy source fails, no page has changed.
//
// Thread-safe. The write_ functions and restore() want no vCPU running; register_page(),
// wipe_seed() and the accessors may race with the guest.
class GenerationDevices {
 public:
  // `pages` (page-aligned) and `memory` outlive the object. `memory` is the guest's RAM, in which
  // the registered page lies.
  GenerationDevices(std::span<std::byte, layout::kGenerationPagesSize> pages,
                    GenerationOptions options, const GuestMemory& memory);

  // The machine starts: all pages anew, no registration.
  Status write_boot(EntropySource& entropy);
  // The source goes on after its snapshot. The operator's metadata stay.
  Status write_resume(EntropySource& entropy);
  // A restored machine is about to run: `kind` is kClone or kMove. `metadata` (at most
  // CLONESAFE_RESTORE_METADATA_MAX bytes, needs the restore page) replaces what was there. `tsc`:
  // what the guest's TSC shows now, by which it knows how long ago the host's time was read.
  Status write_restore(EntropySource& entropy, RestoreKind kind,
                       std::span<const std::byte> metadata, TscReading tsc = {});

  // The agent says where its generation page is; checked here and before each later write.
  Status register_page(GuestAddress address, const PageNonce& nonce);
  // Zeroes the seed, whether the guest used it or not.
  void wipe_seed();

  // The snapshot's section. It never holds a seed, nor metadata (they belong to one restore).
  void save(StateEncoder& encoder) const;
  // Takes a section over: options, identity, sequences, registration. The bytes are untrusted; on
  // an error nothing has changed. The pages then hold the source's values without a seed:
  // write_restore() must follow.
  Status restore(StateDecoder& decoder);

  GenerationOptions options() const;
  RestoreKind kind() const;
  std::uint64_t generation() const;
  std::uint64_t reseed_epoch() const;
  VmGenerationId vm_generation_id() const;
  RestoreId restore_id() const;
  bool seed_present() const;
  std::optional<PageRegistration> registration() const;
  // Why the last registration ended (the page moved, the guest was rebooted); empty if it did not.
  std::string registration_ended() const;

 private:
  struct Event;
  // Host-side truth. What the pages say is written from it; the guest may scribble over the pages.
  struct Identity {
    RestoreKind kind = RestoreKind::kBoot;
    std::uint64_t generation = 0;
    std::uint64_t reseed_epoch = 0;
    std::uint64_t disruption_marker = 0;
    VmGenerationId vm_generation_id{};
    RestoreId restore_id{};
    std::uint64_t host_realtime_ns = 0;
    TscReading tsc;  // at host_realtime_ns; of one write, so in no snapshot
  };

  SharedPage vmgenid_page() const { return page(layout::kVmgenidPage); }
  SharedPage vmclock_page() const { return page(layout::kVmclockPage); }
  SharedPage restore_page() const { return page(layout::kRestorePage); }
  SharedPage seed_page() const { return page(layout::kSeedPage); }
  SharedPage page(std::uint64_t address) const {
    return SharedPage(pages_.data() + (address - layout::kGenerationPages));
  }
  bool gives_seed() const { return options_.restore_page && options_.seed; }

  Result<Event> draw(EntropySource& entropy, RestoreKind kind) const;
  void write_vmgenid();
  void write_vmclock_fields();
  void write_restore_fields();
  void write_seed(const Event& event);
  void write_event(const Event& event, std::optional<std::span<const std::byte>> metadata);
  void write_registration(const Event& event);
  void clear_seed();

  const std::span<std::byte, layout::kGenerationPagesSize> pages_;
  const GuestMemory& memory_;

  mutable std::mutex mutex_;  // guards all below
  GenerationOptions options_;
  Identity identity_;
  std::optional<PageRegistration> registration_;
  std::string registration_ended_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_GENERATION_GENERATION_DEVICES_H_
