// hooks: functions of the program that run before a snapshot and after a restore.
//
// This header: the hooks that are registered, and the handling of one event: which hooks run, in
// which order, on which thread, until when, and what became of them.
#ifndef CLONESAFE_HOOKS_REGISTRY_H_
#define CLONESAFE_HOOKS_REGISTRY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "clonesafe/hooks.h"
#include "libclonesafe/core/fork_lock.h"

struct cs_hook {
  // Set once.
  cs_hook_function* function = nullptr;
  void* argument = nullptr;
  void (*release)(void* argument) = nullptr;
  std::uint32_t phase = 0;
  std::uint32_t priority = 0;
  std::int64_t deadline_ns = 0;
  char name[CS_HOOK_NAME] = {};
  // Under the registry's lock.
  cs_hook* next = nullptr;       // in order of registration
  std::uint32_t references = 1;  // the list's, and one of each event that has it on its own list
  bool removed = false;
  bool release_after_run = false;
  std::uint64_t runs_in = 0;  // the process's name, 0: it doesn't run
};

namespace clonesafe::hooks {

// What is known of an event before it is handled.
struct Happened {
  std::uint32_t phase = CS_PHASE_AFTER_RESTORE;
  std::uint32_t kind = 0;
  std::uint32_t changes = 0;
  std::uint64_t old_generation = 0;
  std::uint64_t new_generation = 0;
  std::uint8_t restore_id[16] = {};
};

// How the hooks of an event are run.
struct Way {
  bool on_threads = false;  // as opposed to the caller's
  std::int64_t deadline_ns = core::kNoDeadline;
  // Called at the deadline for all, if that comes before the end.
  void (*deadline_over)(void* argument) = nullptr;
  void* argument = nullptr;
};

// Every function may be called from any thread, but for those of `Turn`.
class Registry {
 public:
  // CS_E_ codes as the C functions.
  int add(const cs_hook_options& options, std::uint32_t phase, cs_hook*& hook);
  void remove(cs_hook* hook);

  // The right to handle events: one thread of a process at a time has it.
  class Turn {
   public:
    Turn(Registry& registry, bool wait) : registry_(registry), taken_(registry.take_turn(wait)) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
      if (taken_) registry_.end_turn();
    }
    explicit operator bool() const { return taken_; }

   private:
    Registry& registry_;
    bool taken_;
  };

  // Makes this moment the one against which changes are seen, unless there is one. 0 or CS_E_.
  int begin();
  // 1 if something changed since the last event that was handled, and what; 0; CS_E_UNSTABLE. Only
  // in a turn.
  int look(Happened& happened);
  bool changed();
  // Runs the hooks. CS_HOOK_ outcome, or CS_E_MEMORY: then nothing ran. Only in a turn.
  int handle(const Happened& happened, const Way& way);
  // Whether before-hooks have run and no after-hooks since.
  bool prepared();

  int outcome();
  int report(cs_hook_report* reports, std::size_t size, std::size_t capacity);
  // The first hook of the last event that didn't go well, for people. At most `size` bytes.
  void describe_failure(char* text, std::size_t size);

#ifdef CLONESAFE_TESTING
  // Forgets everything but what is registered. No other thread may use the library meanwhile.
  void restart_for_testing();
  // How many threads that run hooks there are, those that were given up included.
  static std::atomic<int> workers_for_testing;
#endif

 private:
  struct Job;
  struct Run;
  struct Reports;

  bool take_turn(bool wait);
  void end_turn();
  Run* make_run(const Happened& happened, const Way& way);
  Job* next_job(Run& run);
  void work(Run& run, std::uint32_t turn);
  bool start_worker(Run& run);
  static void* worker_main(void* argument);
  void drop(Run& run);
  void drop(cs_hook& hook);
  int publish(Run& run, bool all_late);

  core::ForkLock lock_;
  core::ForkCondition moved_;  // a hook or an event ended
  cs_hook* first_ = nullptr;
  std::uint64_t turn_of_ = 0;  // the process's name, 0: nobody's
  std::uint64_t events_ = 0;
  bool prepared_ = false;
  bool begun_ = false;
  cs_stamp seen_ = {};
  Reports* reports_ = nullptr;
  int outcome_ = CS_HOOK_OK;

  friend class Guard;
};

Registry& registry();

// Whether the calling thread is in a hook, or (in a signal handler) interrupted this library.
bool in_hook();
bool interrupted();

}  // namespace clonesafe::hooks

#endif  // CLONESAFE_HOOKS_REGISTRY_H_
