#ifndef CLONESAFE_CORE_SOURCES_H_
#define CLONESAFE_CORE_SOURCES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "clonesafe/abi/generation_page.h"
#include "clonesafe/abi/vmclock.h"
#include "clonesafe/clonesafe.h"
#include "libclonesafe/core/fork_word.h"
#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe::core {

// Everything that moves when this process's random state must not be used any more. Two stamps of
// one process that are equal mean that nothing happened between them.
struct Stamp {
  const clonesafe_generation_page* page = nullptr;  // another page counts as a change
  std::uint64_t control = 0;
  std::uint64_t vmclock = 0;
  std::uint64_t fork = 0;

  bool operator==(const Stamp&) const = default;
};

// What stands in for a source that isn't there, so that `stamp` has no branches.
extern const clonesafe_generation_page kNoPage;
extern const clonesafe_vmclock kNoVmclock;

// The generation sources of this process: the generation page, /dev/vmclock0, and the fork word.
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
    const auto* vmclock = vmclock_.load(std::memory_order_acquire);
    return {.page = page,
            .control = load_generation_control(*page),
            .vmclock = __atomic_load_n(&vmclock->vm_generation_counter, __ATOMIC_ACQUIRE),
            .fork = fork_word_.current()};
  }

  // Where the words of a stamp are, for checks outside of this class.
  const cs_live_words& live() const { return live_; }

  bool has_page() const { return page_.load(std::memory_order_acquire) != &kNoPage; }
  bool has_vmclock() const { return vmclock_.load(std::memory_order_acquire) != &kNoVmclock; }
  const ForkWord& fork_word() const { return fork_word_; }

  const char* page_path() const { return page_path_; }
  // Static texts, nullptr when the source is in use.
  const char* page_problem() const { return page_problem_.load(std::memory_order_relaxed); }
  const char* vmclock_problem() const { return vmclock_problem_.load(std::memory_order_relaxed); }

  // Looks for sources that appeared or were replaced, if it is time: every 100 ms while the page is
  // missing, else every second. Cheap otherwise.
  void rescan();

#ifdef CLONESAFE_TESTING
  const clonesafe_vmclock* vmclock_for_testing() const {
    return vmclock_.load(std::memory_order_acquire);
  }
#endif

 private:
  void open_page();
  void open_vmclock();

  std::atomic<const clonesafe_generation_page*> page_ = &kNoPage;
  std::atomic<const clonesafe_vmclock*> vmclock_ = &kNoVmclock;
  cs_live_words live_ = {.control = &kNoPage.control,
                         .counter = &kNoVmclock.vm_generation_counter,
                         .fork = &kNoPage.control};
  ForkWord fork_word_;
  std::atomic<const char*> page_problem_ = "not looked for yet";
  std::atomic<const char*> vmclock_problem_ = "not looked for yet";
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
