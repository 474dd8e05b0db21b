// Wiping the state of threads that may be about to draw, without a lock on their way.
//
// A thread says that it draws (busy_) and then looks whether it may; the wiper says that it may not
// (wiped_by_) and then looks whether it draws. Neither order of the two may be lost, so each side
// needs a full barrier between its store and its load. membarrier(2) gives the threads theirs at
// the time of the wipe, and a draw does without.
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "libclonesafe/core/thread_state.h"

namespace clonesafe::core {
namespace {

// For all threads together: a draw takes microseconds, but its thread may not be running.
constexpr std::int64_t kPatienceNs = 50'000'000;

// A full barrier in every running thread of the process.
bool put_barrier() {
  const auto membarrier = [](int command) { return ::syscall(SYS_membarrier, command, 0, 0) == 0; };
  const int kept = errno;
  const bool done = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) ||
                    (errno == EPERM && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
                     membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED));
  errno = kept;
  return done;
}

}  // namespace

void ThreadState::enlist() {
  Process& shared = *process();
  made_in_ = shared.sources.fork_word_value();
  const ForkGuard guard(shared.states_lock);
  next_ = shared.states;
  shared.states = this;
}

void ThreadState::strike_off() {
  Process& shared = *process();
  const ForkGuard guard(shared.states_lock);
  for (ThreadState** link = &shared.states; *link != nullptr; link = &(*link)->next_) {
    if (*link != this) continue;
    *link = next_;
    return;
  }
}

void ThreadState::wipe_secrets() {
  generator_.forget();
  private_generator_.forget();
  streams_.forget();
}

void ThreadState::wait_for_wipe() {
  Sources& sources = process()->sources;
  for (;;) {
    busy_.store(false, std::memory_order_release);
    for (std::uint64_t by; (by = wiped_by_.load(std::memory_order_acquire)) != 0;) {
      // The parent's wiper isn't in this child, whose kernel has wiped everything.
      if (by != sources.fork_word_value()) wiped_by_.store(0, std::memory_order_relaxed);
      (void)::sched_yield();
    }
    busy_.store(true, std::memory_order_relaxed);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (wiped_by_.load(std::memory_order_acquire) == 0) return;
  }
}

std::size_t ThreadState::wipe_all() {
  Process* const shared = initialized_process.load(std::memory_order_acquire);
  if (shared == nullptr) return 0;
  std::size_t missed = 0;
  if (current_ != nullptr) {
    missed += current_->exclusively([](Generator&, ids::ThreadIdentifiers&) {
      current_->wipe_secrets();
      return 0;
    }) != 0;
  }

  const ForkGuard guard(shared->states_lock);
  const std::uint64_t own = shared->sources.fork_word_value();
  const auto is_another_thread = [own](const ThreadState* state) {
    return state != current_ && state->made_in_ == own;
  };
  bool alone = true;
  for (ThreadState* state = shared->states; state != nullptr; state = state->next_) {
    if (!is_another_thread(state)) continue;
    state->wiped_by_.store(own, std::memory_order_relaxed);
    alone = false;
  }
  if (alone) return missed;
  const bool ordered = put_barrier();
  const std::int64_t deadline = monotonic_now_ns() + kPatienceNs;
  for (ThreadState* state = shared->states; state != nullptr; state = state->next_) {
    if (!is_another_thread(state)) continue;
    bool draws = true;
    while (ordered && (draws = state->busy_.load(std::memory_order_acquire)) &&
           monotonic_now_ns() < deadline) {
      (void)::sched_yield();
    }
    if (draws) {
      ++missed;
    } else {
      state->wipe_secrets();
    }
    state->wiped_by_.store(0, std::memory_order_release);
  }
  return missed;
}

}  // namespace clonesafe::core
