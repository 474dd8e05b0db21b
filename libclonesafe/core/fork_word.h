#ifndef CLONESAFE_CORE_FORK_WORD_H_
#define CLONESAFE_CORE_FORK_WORD_H_

#include <atomic>
#include <cstdint>

namespace clonesafe::core {

// A number that differs between a process and its children by fork(2), read with one load.
//
// It stands in a page of its own that the kernel wipes on fork (MADV_WIPEONFORK, Linux 4.14), so
// that no fork escapes it, raw clone(2) included. The first reader in the child finds zero and
// gives the word its next value. Where the kernel can't, pthread_atfork stands in (it misses raw
// clone(2)).
//
// Thread-safe after `initialize`, which must have returned before the first `current`.
class ForkWord {
 public:
  // False if forks could go unnoticed, for want of memory.
  bool initialize();

  std::uint64_t current() {
    const std::uint64_t word = __atomic_load_n(word_, __ATOMIC_ACQUIRE);
    return word != 0 ? word : renew();
  }
  // Zero there: a child that nobody has asked for its number yet.
  const std::uint64_t* address() const { return word_; }
  // Whether the kernel wipes the word; without it only forks by fork(2) itself are noticed.
  bool wiped_by_kernel() const { return wiped_by_kernel_; }

 private:
  std::uint64_t renew();

  std::uint64_t* word_ = nullptr;
  std::uint64_t word_without_kernel_ = 1;
  // How many words this lineage has given out. Inherited over a fork, never wiped: it grows before
  // a word is put in place, so a child's next word is always larger than its parent's.
  std::atomic<std::uint64_t> given_ = 1;
  bool wiped_by_kernel_ = false;
};

// Maps `size` bytes (a multiple of the page size) of private memory that children find zeroed and
// core dumps leave out. nullptr if there is no memory; `wiped`, if not null, says whether the
// kernel takes the wiping on.
void* map_wiped_on_fork(std::size_t size, bool* wiped);

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_FORK_WORD_H_
