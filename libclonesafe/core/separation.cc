#include "libclonesafe/core/separation.h"

#include <sched.h>

#include <cstring>

namespace clonesafe::core {
namespace {

// A source that appears tells of no clone.
bool counter_moved(const Known& known, const Sighting& sighting) {
  return known.has_counter && sighting.has_counter && known.counter != sighting.counter;
}

// Whether the page tells of a restore since the known one.
bool page_moved(const Known& known, const Sighting& sighting) {
  return sighting.page_usable && (sighting.slot.generation != known.generation ||
                                  sighting.repetition.so_far != known.repetitions);
}

// Whether the host gave this restore what it gave no other that this process knows of.
bool mark_separates(const Known& known, const Sighting& sighting) {
  const std::uint64_t mark = mark_of(sighting.slot);
  return mark != 0 && mark != known.mark && !sighting.repetition.of_mark();
}

bool counter_separates(const Known& known, const Sighting& sighting) {
  return sighting.counter_separates && counter_moved(known, sighting);
}

// Whether the page speaks of another restore than the known one and brings what separates.
bool page_separates(const Known& known, const Sighting& sighting) {
  if (!page_moved(known, sighting)) return false;
  return mark_separates(known, sighting) || sighting.slot.state == CLONESAFE_STATE_SAFE;
}

}  // namespace

std::uint64_t mark_of(const clonesafe_generation_slot& slot) {
  return fold(slot.diversifier) + fold(slot.vm_generation_id);
}

bool is_separated(const Known& known, const Sighting& sighting) {
  if (sighting.hardware_random) return true;
  if (!known.anything) {
    // The first seeding of a process. It can't know of a restore just before it, unless the page
    // says that one is being repaired.
    return !sighting.page_usable || sighting.slot.state != CLONESAFE_STATE_REPAIRING ||
           mark_of(sighting.slot) != 0;
  }
  const bool cloned = counter_moved(known, sighting) || page_moved(known, sighting);
  return !cloned || counter_separates(known, sighting) || page_separates(known, sighting);
}

Separation separation_of(const Known& known, const Sighting& sighting) {
  if (!is_separated(known, sighting)) return Separation::kNone;
  if (sighting.counter_separates) return Separation::kHost;
  const bool counter_ahead = counter_moved(known, sighting) && !page_moved(known, sighting);
  if (sighting.page_usable && mark_of(sighting.slot) != 0 && !sighting.repetition.of_mark() &&
      !counter_ahead) {
    return Separation::kHost;
  }
  return sighting.hardware_random ? Separation::kProcessor : Separation::kKernel;
}

Known known_at_start(const Sighting& sighting) {
  if (sighting.page_usable && sighting.slot.state == CLONESAFE_STATE_REPAIRING) return {};
  return known_after({}, sighting);
}

Known known_after(const Known& known, const Sighting& sighting) {
  if (known.anything && sighting.page_usable && counter_moved(known, sighting) &&
      !page_moved(known, sighting)) {
    return known;
  }
  Known after = known;
  after.anything = true;
  if (sighting.has_counter) {
    after.has_counter = true;
    after.counter = sighting.counter;
  }
  if (sighting.page_usable) {
    after.generation = sighting.slot.generation;
    after.mark = mark_of(sighting.slot);
    after.repetitions = sighting.repetition.so_far;
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
      history_ = {};
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

Repetition SharedKnown::note(std::uint64_t fork, const void* page,
                             const GenerationSnapshot& snapshot) {
  lock(fork);
  const Repetition repetition = history_.note(page, snapshot);
  unlock();
  return repetition;
}

}  // namespace clonesafe::core
