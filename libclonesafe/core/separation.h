#ifndef CLONESAFE_CORE_SEPARATION_H_
#define CLONESAFE_CORE_SEPARATION_H_

#include <atomic>
#include <cstdint>

#include "libclonesafe/core/restore_history.h"
#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe::core {

// What a seeding saw that bears on whether siblings see the same.
struct Sighting {
  bool page_usable = false;
  clonesafe_generation_slot slot = {};  // if page_usable
  bool has_counter = false;
  std::uint64_t counter = 0;  // if has_counter
  // It is random, and so is the id with which it was mixed: the host gives each clone its own.
  bool counter_separates = false;
  bool hardware_random = false;
  Repetition repetition;  // of what the slot tells, if page_usable
};

// Of the machine's history as this process knows it: the values with which it was last told apart
// from its siblings.
struct Known {
  bool anything = false;
  std::uint64_t generation = 0;  // 0 before there was a page
  bool has_counter = false;
  std::uint64_t counter = 0;
  std::uint64_t mark = 0;  // stands for diversifier and VM Generation ID; 0 if both are absent
  std::uint64_t repetitions = 0;  // as Repetition::so_far
};

// What tells this machine from its siblings, the weakest first.
enum class Separation : std::uint8_t {
  kNone,       // nothing yet: draws wait, and fail
  kKernel,     // the kernel's generator alone, as early and as well as it was reseeded
  kProcessor,  // RDRAND or RDSEED
  kHost        // a diversifier or VM Generation ID that the host gave this restore
};

std::uint64_t mark_of(const clonesafe_generation_slot& slot);

// Whether a generator seeded from `sighting` is told apart from those of all siblings.
//
// A generation, or VMCLOCK's counter, only says that the machine was cloned; siblings may have
// equal ones. What separates is any of: hardware random bytes; a counter that moved and is the
// host's random word (restore page, VMGENID); a page that moved together with the generation and
// brings a diversifier or VM Generation ID that this process never saw; or a page that moved and
// says "safe", so that the kernel's generator was separated ("degraded" may mean that it was not).
// If nothing says that the machine was cloned since `known`, there is nobody to be separated from.
bool is_separated(const Known& known, const Sighting& sighting);

Separation separation_of(const Known& known, const Sighting& sighting);

// What a process that starts with this before it is ever seeded knows.
Known known_at_start(const Sighting& sighting);

// What is known after a seeding that was separated. A counter that moved before the page is not
// taken over: until the page follows, other threads must make sure for themselves.
Known known_after(const Known& known, const Sighting& sighting);

// `Known` and the history shared by the threads of a process. Taken only to seed. A thread that
// held the lock when another forked is not in the child, so the lock is held in the name of a fork
// word: the child takes it over, and forgets what may have been half written.
class SharedKnown {
 public:
  Known load(std::uint64_t fork);
  void store(std::uint64_t fork, const Known& known);
  // As RestoreHistory::note.
  Repetition note(std::uint64_t fork, const void* page, const GenerationSnapshot& snapshot);

#ifdef CLONESAFE_TESTING
  // As a thread does that isn't there any more after a fork.
  void lock_for_testing(std::uint64_t fork) { lock(fork); }
#endif

 private:
  void lock(std::uint64_t fork);
  void unlock() { holder_.store(0, std::memory_order_release); }

  std::atomic<std::uint64_t> holder_ = 0;
  Known known_;
  RestoreHistory history_;
};

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_SEPARATION_H_
