#include "libclonesafe/core/fork_word.h"

#include <pthread.h>
#include <sys/mman.h>

#include "libclonesafe/core/seams.h"

namespace clonesafe::core {
namespace {

std::uint64_t* word_to_clear_in_child = nullptr;

void clear_word_in_child() {
  __atomic_store_n(word_to_clear_in_child, 0, __ATOMIC_RELEASE);
}

}  // namespace

void* map_wiped_on_fork(std::size_t size, bool* wiped) {
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (wiped != nullptr) *wiped = false;
  if (memory == MAP_FAILED) return nullptr;
  bool wipe = true;
#ifdef CLONESAFE_TESTING
  wipe = seams_for_testing.detect_forks;
#endif
  // User-mode emulators have answered 0 to any advice, so advice that doesn't exist must fail
  // first.
  if (wipe && ::madvise(memory, size, -1) != 0 && ::madvise(memory, size, MADV_WIPEONFORK) == 0) {
    if (wiped != nullptr) *wiped = true;
  }
  (void)::madvise(memory, size, MADV_DONTDUMP);
  return memory;
}

bool ForkWord::initialize() {
  auto* word = static_cast<std::uint64_t*>(map_wiped_on_fork(4096, &wiped_by_kernel_));
  if (word == nullptr) word = &word_without_kernel_;
  *word = given_.load(std::memory_order_relaxed);
  word_ = word;
  if (wiped_by_kernel_) return true;
#ifdef CLONESAFE_TESTING
  if (!seams_for_testing.detect_forks) return true;
#endif
  word_to_clear_in_child = word;
  return ::pthread_atfork(nullptr, nullptr, clear_word_in_child) == 0;
}

std::uint64_t ForkWord::renew() {
  const std::uint64_t next = given_.fetch_add(1, std::memory_order_acq_rel) + 1;
  std::uint64_t expected = 0;
  if (__atomic_compare_exchange_n(word_, &expected, next, false, __ATOMIC_ACQ_REL,
                                  __ATOMIC_ACQUIRE)) {
    return next;
  }
  return expected;  // another thread of the child was first
}

}  // namespace clonesafe::core
