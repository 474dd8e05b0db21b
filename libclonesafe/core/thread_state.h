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
    if (busy_) return CS_E_BUSY;
    busy_ = true;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    const int result = body(generator_, secrets_.identifiers);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    busy_ = false;
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
  bool busy() const { return busy_; }
  std::uint32_t seeded_from() const { return generator_.seeded_from(); }

  // Wipes and frees. The thread's next draw makes a new state.
  static void destroy_current();

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

  static constinit thread_local ThreadState* current_;

  Page& secrets_;
  Streams streams_;
  Generator generator_;
  Generator private_generator_;
  bool volatile busy_ = false;
};

#ifdef CLONESAFE_TESTING
// As if the process had just started: forgets the sources, what is known, and the calling thread's
// state. No other thread may use the library meanwhile.
void restart_for_testing();
#endif

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_THREAD_STATE_H_
