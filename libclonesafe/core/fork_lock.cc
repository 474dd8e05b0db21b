#include "libclonesafe/core/fork_lock.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>

#include "libclonesafe/core/thread_state.h"

namespace clonesafe::core {
namespace {

constexpr std::uint32_t kHeld = 1;
constexpr std::uint32_t kContended = 2;

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

std::uint32_t own_name() {
  return static_cast<std::uint32_t>(own_fork_word() << 2);
}

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t limit_ns) {
  timespec limit = {.tv_sec = limit_ns / 1'000'000'000, .tv_nsec = limit_ns % 1'000'000'000};
  const int kept = errno;
  (void)::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected,
                  limit_ns == kNoDeadline ? nullptr : &limit, nullptr, 0);
  errno = kept;
}

void futex_wake(std::atomic<std::uint32_t>& word, int count) {
  const int kept = errno;
  (void)::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
  errno = kept;
}

}  // namespace

std::int64_t monotonic_now_ns() {
  timespec now = {};
  (void)::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

std::uint64_t own_fork_word() {
  Process* shared = process();
  return shared == nullptr ? 0 : shared->sources.stamp().fork;
}

void ForkLock::lock() {
  const std::uint32_t own = own_name();
  std::uint32_t wanted = own | kHeld;
  for (;;) {
    std::uint32_t word = word_.load(std::memory_order_relaxed);
    const bool held = (word & kHeld) != 0 && (word & ~(kHeld | kContended)) == own;
    if (!held) {
      if (word_.compare_exchange_weak(word, wanted, std::memory_order_acquire)) return;
      continue;
    }
    if ((word & kContended) == 0 &&
        !word_.compare_exchange_weak(word, word | kContended, std::memory_order_relaxed))
      continue;
    futex_wait(word_, word | kContended, kNoDeadline);
    // Others may still wait: whoever unlocks after this thread must wake them.
    wanted |= kContended;
  }
}

void ForkLock::unlock() {
  if ((word_.exchange(0, std::memory_order_release) & kContended) != 0) futex_wake(word_, 1);
}

void ForkCondition::wait(ForkLock& lock, std::int64_t deadline_ns) {
  const std::uint32_t seen = count_.load(std::memory_order_relaxed);
  lock.unlock();
  if (deadline_ns == kNoDeadline) {
    futex_wait(count_, seen, kNoDeadline);
  } else if (const std::int64_t left = deadline_ns - monotonic_now_ns(); left > 0) {
    futex_wait(count_, seen, left);
  }
  lock.lock();
}

void ForkCondition::notify_all() {
  count_.fetch_add(1, std::memory_order_relaxed);
  futex_wake(count_, INT_MAX);
}

}  // namespace clonesafe::core
