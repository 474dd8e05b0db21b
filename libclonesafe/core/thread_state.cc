#include "libclonesafe/core/thread_state.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdlib>
#include <new>

#include "clonesafe/clonesafe.h"

namespace clonesafe::core {

#ifdef CLONESAFE_TESTING
constinit SeamsForTesting seams_for_testing;
#endif

namespace {

constexpr std::size_t kSecretPageSize = 4096;

// The library's only global state. It is never taken apart: a destructor of the program's may draw
// after exit().
constinit Process the_process = {};
// glibc's runs again in the child of a fork that fell into it.
pthread_once_t once = PTHREAD_ONCE_INIT;
pthread_key_t thread_end = 0;
bool have_thread_end = false;

void at_thread_end(void*) {
  ThreadState::destroy_current();
}

void initialize() {
  if (the_process.primitives.hmac_sha256 == nullptr && !the_process.primitives.fetch()) return;
  if (!have_thread_end && ::pthread_key_create(&thread_end, at_thread_end) != 0) return;
  have_thread_end = true;
  if (!the_process.sources.initialize()) return;
  const Stamp stamp = the_process.sources.stamp();
  Sighting sighting;
  GenerationSnapshot snapshot;
  if (stamp.page != &kNoPage &&
      read_generation_page(*stamp.page, snapshot) == PageCondition::kUsable) {
    sighting.page_usable = true;
    sighting.slot = snapshot.slot;
    sighting.repetition = the_process.known.note(stamp.fork, stamp.page, snapshot);
  }
  sighting.has_counter = the_process.sources.has_counter();
  sighting.counter = stamp.counter;
  sighting.counter_separates = the_process.sources.counter_id() != nullptr;
  the_process.known.store(stamp.fork, known_at_start(sighting));
  initialized_process.store(&the_process, std::memory_order_release);
}

}  // namespace

constinit thread_local ThreadState* ThreadState::current_ = nullptr;

constinit std::atomic<Process*> initialized_process = nullptr;

Process* initialize_process() {
  (void)::pthread_once(&once, initialize);
  return initialized_process.load(std::memory_order_acquire);
}

ThreadState::ThreadState(Process& process, Page& secrets, const Streams& streams)
    : secrets_(secrets),
      streams_(streams),
      generator_(process, secrets_.generator, streams_.general,
                 process.generators.fetch_add(1, std::memory_order_relaxed)),
      private_generator_(process, secrets_.private_generator, streams_.of_private(),
                         process.generators.fetch_add(1, std::memory_order_relaxed)) {}

ThreadState* ThreadState::create(int& error) {
  static_assert(sizeof(Page) <= kSecretPageSize);
  Process* shared = process();
  if (shared == nullptr) {
    error = CS_E_CRYPTO;
    return nullptr;
  }
  error = CS_E_MEMORY;
  void* memory = std::malloc(sizeof(ThreadState));
  void* secrets = map_wiped_on_fork(kSecretPageSize, nullptr);
  const Core core = shared->core.load(std::memory_order_relaxed);
  Streams streams;
  if (memory == nullptr || secrets == nullptr || !streams.create(shared->primitives, core) ||
      ::pthread_setspecific(thread_end, memory) != 0) {
    streams.destroy();
    if (secrets != nullptr) (void)::munmap(secrets, kSecretPageSize);
    std::free(memory);
    return nullptr;
  }
  error = 0;
  current_ = new (memory) ThreadState(*shared, *static_cast<Page*>(secrets), streams);
  current_->enlist();
  return current_;
}

void ThreadState::destroy_current() {
  ThreadState* state = current_;
  if (state == nullptr) return;
  current_ = nullptr;
  (void)::pthread_setspecific(thread_end, nullptr);
  state->strike_off();
  state->streams_.destroy();
  wipe(&state->secrets_, kSecretPageSize);
  (void)::munmap(&state->secrets_, kSecretPageSize);
  state->~ThreadState();
  std::free(state);
}

#ifdef CLONESAFE_TESTING
void restart_for_testing() {
  ThreadState::destroy_current();
  initialized_process.store(nullptr);
  once = PTHREAD_ONCE_INIT;
  const Primitives primitives = the_process.primitives;
  the_process.~Process();
  new (&the_process) Process{};
  the_process.primitives = primitives;
}
#endif

}  // namespace clonesafe::core
