#include "guest_agent/repairs/kernel_rng.h"

#include <cstring>

#include "guest_agent/base/digest.h"

namespace clonesafe::agent {
namespace {

void note(std::string& notes, std::string_view what) {
  if (!notes.empty()) notes += "; ";
  notes += what;
}

}  // namespace

KernelRngRepair::SeedUse KernelRngRepair::give_seed(const RepairEvent& event, std::string& notes) {
  if (seed_ == nullptr) {
    note(notes, "no seed from this host");
    return SeedUse::kNone;
  }
  Seed seed;
  if (auto copied = seed_->copy(event.restore.restore_id, seed); !copied) {
    note(notes, copied.error().message());
    return SeedUse::kNone;
  }
  constexpr int kSeedBits = 256;
  const Status added = kernel_.add_entropy(seed.bytes(), kSeedBits);
  if (!added) note(notes, added.error().message());
  // Used or not: it must not be in the next snapshot.
  if (auto wiped = seed_->wipe(); !wiped) note(notes, wiped.error().message());
  return added ? SeedUse::kGiven : SeedUse::kRefused;
}

Repair::Finding KernelRngRepair::run(const RepairEvent& event) {
  std::string notes;
  const SeedUse seed = give_seed(event, notes);

  // Digested, so that the kernel gets all of it in one block.
  const Restore& restore = event.restore;
  auto unique = digest("clonesafe kernel mix v1",
                       {event.diversifier,
                        restore.vm_generation_id,
                        restore.restore_id,
                        {reinterpret_cast<const std::uint8_t*>(&restore.host_realtime_ns),
                         sizeof(restore.host_realtime_ns)}});
  if (!unique) return failed(unique.error().message());
  if (auto mixed = kernel_.mix(*unique); !mixed) {
    note(notes, mixed.error().message());
    return failed(notes);
  }
  if (auto reseeded = kernel_.reseed(); !reseeded) {
    note(notes, reseeded.error().message());
    return failed(notes);
  }

  // Read back: the generator answers, and not twice the same.
  Bytes32 first = {};
  Bytes32 second = {};
  for (Bytes32* const sample : {&first, &second}) {
    if (auto drawn = kernel_.random(*sample); !drawn) {
      note(notes, drawn.error().message());
      return failed(notes);
    }
  }
  const bool same = first == second;
  wipe(first);
  wipe(second);
  if (same) {
    note(notes, "the kernel's generator repeats itself");
    return failed(notes);
  }
  if (seed == SeedUse::kRefused) return failed(notes);
  // A boot has no siblings yet.
  if (seed == SeedUse::kNone && !restore.separates_siblings && event.kind != RestoreKind::kBoot) {
    note(notes, "nothing here differs between siblings but what the CPU's generator adds");
    return failed(notes);
  }
  return ok(notes);
}

}  // namespace clonesafe::agent
