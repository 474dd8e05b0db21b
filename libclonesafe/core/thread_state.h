#ifndef CLONESAFE_CORE_THREAD_STATE_H_
#define CLONESAFE_CORE_THREAD_STATE_H_

#include <atomic>

#include "clonesafe/clonesafe.h"
#include "libclonesafe/core/generator.h"
#include "libclonesafe/ids/thread_identifiers.h"

namespace clonesafe::core {

// The process's state, made by the first call of whichever thread comes first. nullptr if libcrypto
// or memory refused, and then for good.
extern constinit std::atomic<Process*> initialized_process;  // nullptr before that
Process* initialize_process();
inline Process* process() {
  Process* const made = initialized_process.load(std::memory_order_acquire);
  return made != nullptr ? made : initialize_process();
}

// One thread's generator. It is made on the thread's first draw and wiped when the thread ends.
class ThreadState {
 public:
  // The calling thread's, nullptr with `error` set to a CS_E_ code if it can't be made.
  static ThreadState* current(int& error) {
    ThreadState* state = current_;
    return state != nullptr ? state : create(error);
  }
  // The calling thread's if it has one.
  static ThreadState* existing() { return current_; }

  // Runs `body`, which uses this thread's generator or identifiers. Refuses with CS_E_BUSY inside
  // another body of the same thread, which only a signal handler can bring about: it would be given
  // the values that the interrupted one takes.
  template <typename Body>
  int exclusively(Body body) {
    if (busy_.load(std::memory_order_relaxed)) return CS_E_BUSY;
    busy_.store(true, std::memory_order_relaxed);
    // Pairs with the barrier that wipe_all puts into every thread.
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (wiped_by_.load(std::memory_order_acquire) != 0) [[unlikely]]
      wait_for_wipe();
    const int result = body(generator_, secrets_.identifiers);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    busy_.store(false, std::memory_order_release);
    return result;
  }
  // As Generator::draw.
  int draw(std::uint8_t* output, std::size_t length) {
    return exclusively([&](Generator& generator, ids::ThreadIdentifiers&) {
      return generator.draw(output, length);
    });
  }
  int draw_private(std::uint8_t* output, std::size_t length) {
    return exclusively([&](Generator&, ids::ThreadIdentifiers&) {
      return private_generator_.draw(output, length);
    });
  }
  int draw_fresh(std::uint8_t* output, std::size_t length) {
    return exclusively([&](Generator&, ids::ThreadIdentifiers&) {
      return private_generator_.draw_fresh(output, length);
    });
  }

  // Whether the calling thread is in a draw: true only in a signal handler.
  bool busy() const { return busy_.load(std::memory_order_relaxed); }
  // 0 where it was never seeded or can't be asked now.
  std::uint32_t seeded_from() {
    std::uint32_t from = 0;
    (void)exclusively([&from](const Generator& generator, ids::ThreadIdentifiers&) {
      from = generator.seeded_from();
      return 0;
    });
    return from;
  }

  // Wipes and frees. The thread's next draw makes a new state.
  static void destroy_current();

  // Wipes what all threads of the process would have drawn: it is in no snapshot that is taken now.
  // Their next draws seed anew. Returns how many threads could not
  // be wiped: they were in a draw all the time, or the kernel refused membarrier(2).
  static std::size_t wipe_all();

#ifdef CLONESAFE_TESTING
  const Secrets& secrets_for_testing() const { return secrets_.generator; }
  const Secrets& private_secrets_for_testing() const { return secrets_.private_generator; }
  bool is_being_wiped_for_testing() const { return wiped_by_.load() != 0; }
#endif

 private:
  // What libcrypto keeps. The private generator has its own where there is something in it that
  // outlives a draw.
  struct Streams {
    StreamContext general;
    StreamContext secret;

    bool create(const Primitives& primitives, Core core) {
      return general.create(primitives, core) &&
             (core == Core::kChaCha20 || secret.create(primitives, core));
    }
    StreamContext& of_private() { return secret.ready() ? secret : general; }
    void forget() {
      general.forget();
      secret.forget();
    }
    void destroy() {
      general.destroy();
      secret.destroy();
    }
  };
  // Wiped on fork.
  struct Page {
    Secrets generator;
    Secrets private_generator;
    ids::ThreadIdentifiers identifiers;
  };

  ThreadState(Process& process, Page& secrets, const Streams& streams);
  static ThreadState* create(int& error);
  void wipe_secrets();
  void wait_for_wipe();
  void enlist();
  void strike_off();

  static constinit thread_local ThreadState* current_;

  Page& secrets_;
  Streams streams_;
  Generator generator_;
  Generator private_generator_;
  // Written by the thread alone.
  std::atomic<bool> busy_ = false;
  // The fork word of the process whose wipe_all keeps the thread from drawing, or 0.
  std::atomic<std::uint64_t> wiped_by_ = 0;
  // Under Process::states_lock.
  ThreadState* next_ = nullptr;
  std::uint64_t made_in_ = 0;  // the fork word of its thread's process
};

#ifdef CLONESAFE_TESTING
// As if the process had just started: forgets the sources, what is known, and the calling thread's
// state. No other thread may use the library meanwhile.
void restart_for_testing();
#endif

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_THREAD_STATE_H_
