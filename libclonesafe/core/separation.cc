#include "libclonesafe/core/separation.h"

#include <sched.h>

#include <cstring>

namespace clonesafe::core {
namespace {

std::uint64_t fold(const std::uint8_t* bytes, std::size_t size) {
  std::uint64_t folded = 0;
  for (std::size_t i = 0; i < size; i += sizeof(folded)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + i, sizeof(word));
    // Rotated and multiplied, so that equal words don't cancel out.
    folded = (folded << 29 | folded >> 35) * 0x9e3779b97f4a7c15U + word;
  }
  return folded;
}

// A source that appears tells of no clone.
bool vmclock_moved(const Known& known, const Sighting& sighting) {
  return known.has_vmclock && sighting.has_vmclock && known.vmclock != sighting.vmclock;
}

// Whether the page speaks of another generation than the known one and brings what separates.
bool page_separates(const Known& known, const clonesafe_generation_slot& slot) {
  if (slot.generation == known.generation) return false;
  const std::uint64_t mark = mark_of(slot);
  if (mark != 0 && mark != known.mark) return true;
  return slot.state != CLONESAFE_STATE_REPAIRING;
}

}  // namespace

std::uint64_t mark_of(const clonesafe_generation_slot& slot) {
  return fold(slot.diversifier, sizeof(slot.diversifier)) +
         fold(slot.vm_generation_id, sizeof(slot.vm_generation_id));
}

bool is_separated(const Known& known, const Sighting& sighting) {
  if (sighting.hardware_random) return true;
  if (!known.anything) {
    // The first seeding of a process. It can't know of a restore just before it, unless the page
    // says that one is being repaired.
    return !sighting.page_usable || sighting.slot.state != CLONESAFE_STATE_REPAIRING ||
           mark_of(sighting.slot) != 0;
  }
  const bool cloned = vmclock_moved(known, sighting) ||
                      (sighting.page_usable && sighting.slot.generation != known.generation);
  if (!cloned) return true;
  return sighting.page_usable && page_separates(known, sighting.slot);
}

Known known_at_start(const Sighting& sighting) {
  if (sighting.page_usable && sighting.slot.state == CLONESAFE_STATE_REPAIRING) return {};
  return known_after({}, sighting);
}

Known known_after(const Known& known, const Sighting& sighting) {
  if (known.anything && sighting.page_usable && vmclock_moved(known, sighting) &&
      sighting.slot.generation == known.generation) {
    return known;
  }
  Known after = known;
  after.anything = true;
  if (sighting.has_vmclock) {
    after.has_vmclock = true;
    after.vmclock = sighting.vmclock;
  }
  if (sighting.page_usable) {
    after.generation = sighting.slot.generation;
    after.mark = mark_of(sighting.slot);
  }
  return after;
}

void SharedKnown::lock(std::uint64_t fork) {
  for (;;) {
    std::uint64_t holder = 0;
    if (holder_.compare_exchange_weak(holder, fork, std::memory_order_acquire)) return;
    if (holder != 0 && holder != fork &&
        holder_.compare_exchange_strong(holder, fork, std::memory_order_acquire)) {
      known_ = {};
      return;
    }
    (void)::sched_yield();
  }
}

Known SharedKnown::load(std::uint64_t fork) {
  lock(fork);
  const Known known = known_;
  unlock();
  return known;
}

void SharedKnown::store(std::uint64_t fork, const Known& known) {
  lock(fork);
  known_ = known;
  unlock();
}

}  // namespace clonesafe::core
