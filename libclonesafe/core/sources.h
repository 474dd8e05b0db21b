#ifndef CLONESAFE_CORE_SOURCES_H_
#define CLONESAFE_CORE_SOURCES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "clonesafe/abi/generation_page.h"
#include "clonesafe/abi/vmclock.h"
#include "clonesafe/clonesafe.h"
#include "libclonesafe/core/fork_word.h"
#include "libclonesafe/core/physical_word.h"
#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe::core {

// Everything that moves when this process's random state must not be used any more. Two stamps of
// one process that are equal mean that nothing happened between them.
struct Stamp {
  const clonesafe_generation_page* page = nullptr;  // another page counts as a change
  std::uint64_t control = 0;
  std::uint64_t counter = 0;
  std::uint64_t fork = 0;

  bool operator==(const Stamp&) const = default;
};

// What stands in for a source that isn't there, so that `stamp` has no branches.
extern const clonesafe_generation_page kNoPage;
extern const std::uint64_t kNoCounter;

// The generation sources of this process: the generation page; a word of the machine's (VMCLOCK's
// counter by /dev/vmclock0, or where root finds the restore page or VMGENID in guest memory); and
// the fork word.
//
// Mappings are made once and never taken down, because any thread may be reading them; a page that
// was replaced is left mapped. Thread-safe after `initialize`.
class Sources {
 public:
  // False if forks could go unnoticed.
  bool initialize();

  // Four loads through two pointers. Acquire: what is read afterwards is not older than the stamp.
  Stamp stamp() {
    const auto* page = page_.load(std::memory_order_acquire);
    const auto* counter = counter_.load(std::memory_order_acquire);
    return {.page = page,
            .control = load_generation_control(*page),
            .counter = __atomic_load_n(counter, __ATOMIC_ACQUIRE),
            .fork = fork_word_.current()};
  }

  // Where the words of a stamp are, for checks outside of this class.
  const cs_live_words& live() const { return live_; }

  bool has_page() const { return page_.load(std::memory_order_acquire) != &kNoPage; }
  bool has_counter() const { return counter_.load(std::memory_order_acquire) != &kNoCounter; }
  // CS_SOURCE_: what has the counter; 0 without one.
  std::uint32_t counter_source() const { return has_counter() ? counter_source_ : 0; }
  // 16 bytes beside the counter which the host draws anew for each clone; null if there are none.
  const std::uint8_t* counter_id() const { return has_counter() ? counter_id_ : nullptr; }
  const ForkWord& fork_word() const { return fork_word_; }
  std::uint64_t fork_word_value() { return fork_word_.current(); }

  const char* page_path() const { return page_path_; }
  // Static texts, nullptr when the source is in use.
  const char* page_problem() const { return page_problem_.load(std::memory_order_relaxed); }
  const char* vmclock_problem() const { return vmclock_problem_.load(std::memory_order_relaxed); }
  const char* memory_problem() const { return memory_problem_.load(std::memory_order_relaxed); }

  // Looks for sources that appeared or were replaced, if it is time: every 100 ms while the page is
  // missing, else every second. Cheap otherwise.
  void rescan();

#ifdef CLONESAFE_TESTING
  const std::uint64_t* counter_for_testing() const {
    return counter_.load(std::memory_order_acquire);
  }
#endif

 private:
  void open_page();
  void open_vmclock();
  void open_physical();
  void take_counter(const std::uint64_t* word, std::uint32_t source, const std::uint8_t* id);

  std::atomic<const clonesafe_generation_page*> page_ = &kNoPage;
  std::atomic<const std::uint64_t*> counter_ = &kNoCounter;
  // Written once, before counter_.
  std::uint32_t counter_source_ = 0;
  const std::uint8_t* counter_id_ = nullptr;
  cs_live_words live_ = {
      .control = &kNoPage.control, .counter = &kNoCounter, .fork = &kNoPage.control};
  ForkWord fork_word_;
  std::atomic<const char*> page_problem_ = "not looked for yet";
  std::atomic<const char*> vmclock_problem_ = "not looked for yet";
  std::atomic<const char*> memory_problem_ = "not looked for: another source tells in time";
  std::atomic<std::int64_t> next_rescan_ns_ = 0;
  // Of the mapped page, to see that it was replaced. Written by one thread at a time: the one that
  // moved next_rescan_ns_ on.
  std::atomic<std::uint64_t> page_device_ = 0;
  std::atomic<std::uint64_t> page_inode_ = 0;
  char page_path_[1024] = CLONESAFE_GENERATION_PAGE_PATH;
};

// CLOCK_MONOTONIC at the resolution of a tick; read without a system call.
std::int64_t coarse_now_ns();

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_SOURCES_H_
