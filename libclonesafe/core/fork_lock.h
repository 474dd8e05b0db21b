#ifndef CLONESAFE_CORE_FORK_LOCK_H_
#define CLONESAFE_CORE_FORK_LOCK_H_

#include <atomic>
#include <cstdint>

namespace clonesafe::core {

// CLOCK_MONOTONIC in nanoseconds.
std::int64_t monotonic_now_ns();

// Differs between a process and its children. 0 if the library has no state (libcrypto refused):
// then forks look alike.
std::uint64_t own_fork_word();

inline constexpr std::int64_t kNoDeadline = INT64_MAX;

// A mutex that a thread which isn't there any more after a fork can't keep locked: it is held in
// the name of a fork word, and a child takes it over. What it guards must therefore be whole after
// every single store. Zeros are an unlocked lock. Not recursive.
class ForkLock {
 public:
  void lock();
  void unlock();

 private:
  // The fork word's low 30 bits, then "others wait", then "held".
  std::atomic<std::uint32_t> word_ = 0;
};

class ForkGuard {
 public:
  explicit ForkGuard(ForkLock& lock) : lock_(lock) { lock_.lock(); }
  ForkGuard(const ForkGuard&) = delete;
  ForkGuard& operator=(const ForkGuard&) = delete;
  ~ForkGuard() { lock_.unlock(); }

 private:
  ForkLock& lock_;
};

// A condition variable for it, with nothing in it that a fork could leave behind.
class ForkCondition {
 public:
  // Gives the lock up while it waits. May return early. `deadline_ns` as of monotonic_now_ns.
  void wait(ForkLock& lock, std::int64_t deadline_ns = kNoDeadline);
  void notify_all();

 private:
  std::atomic<std::uint32_t> count_ = 0;
};

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_FORK_LOCK_H_
