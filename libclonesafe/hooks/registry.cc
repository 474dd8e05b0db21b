#include "libclonesafe/hooks/registry.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "libclonesafe/core/thread_state.h"
#include "libclonesafe/hooks/thread.h"

namespace clonesafe::hooks {

namespace {

constexpr std::uint32_t kPriorities = CS_PRIORITY_USER + 1;
constexpr std::int64_t kDefaultDeadlineNs = 5'000'000'000;
constexpr std::uint32_t kRounds = 3;
// Between the rounds of hooks that ask for a retry; only where a thread may wait for it.
constexpr std::int64_t kRetryPauseNs = 20'000'000;
constexpr int kLookTries = 4;

constinit thread_local const cs_hook* running_here = nullptr;
constinit thread_local int locked_here = 0;

constinit Registry the_registry;

std::uint64_t own_name() {
  return core::own_fork_word() + 1;
}

void copy_text(char* to, std::size_t size, const char* from) {
  const std::size_t length = std::min(std::strlen(from), size - 1);
  std::memcpy(to, from, length);
  to[length] = '\0';
}

}  // namespace

// The registry's lock, which a signal handler can tell that it interrupted.
class Guard {
 public:
  explicit Guard(Registry& registry) : registry_(registry) { lock(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  ~Guard() { unlock(); }
  void lock() {
    ++locked_here;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    registry_.lock_.lock();
  }
  void unlock() {
    registry_.lock_.unlock();
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    --locked_here;
  }
  void wait(std::int64_t deadline_ns = core::kNoDeadline) {
    registry_.moved_.wait(registry_.lock_, deadline_ns);
  }

 private:
  Registry& registry_;
};

Registry& registry() {
  return the_registry;
}

bool in_hook() {
  return running_here != nullptr;
}

bool interrupted() {
  const core::ThreadState* state = core::ThreadState::existing();
  return locked_here != 0 || (state != nullptr && state->busy());
}

struct Registry::Job {
  cs_hook* hook;
  std::uint32_t attempts;
  int result;
  bool due;
  bool skipped;  // it was unregistered before its turn
  bool unfinished;
  std::int64_t started_ns;
  std::int64_t duration_ns;
  char detail[CS_HOOK_DETAIL];
};

struct Registry::Run {
  std::uint32_t references;  // the one that waits for it, and its workers
  std::uint32_t turn;        // a worker that has another number was given up
  std::uint32_t round;
  bool on_threads;
  bool finished;
  std::size_t count;
  std::size_t next;
  Job* current;
  std::int64_t current_deadline_ns;
  cs_event event;
  Job jobs[];
};

struct Registry::Reports {
  std::size_t count;
  cs_hook_report entries[];
};

int Registry::add(const cs_hook_options& options, std::uint32_t phase, cs_hook*& hook) {
  if (options.function == nullptr || options.priority >= kPriorities || options.reserved[0] != 0 ||
      options.reserved[1] != 0)
    return CS_E_INVALID;
  if (const int result = begin(); result != 0) return result;
  void* memory = std::malloc(sizeof(cs_hook));
  if (memory == nullptr) return CS_E_MEMORY;
  auto* made = new (memory) cs_hook;
  made->function = options.function;
  made->argument = options.argument;
  made->release = options.release;
  made->phase = phase;
  made->priority = options.priority;
  made->deadline_ns =
      options.deadline_ms == 0 ? kDefaultDeadlineNs : std::int64_t{options.deadline_ms} * 1'000'000;
  copy_text(made->name, sizeof(made->name), options.name != nullptr ? options.name : "hook");
  const Guard guard(*this);
  cs_hook** end = &first_;
  while (*end != nullptr) end = &(*end)->next;
  *end = made;
  hook = made;
  return 0;
}

void Registry::remove(cs_hook* hook) {
  Guard guard(*this);
  cs_hook** place = &first_;
  while (*place != nullptr && *place != hook) place = &(*place)->next;
  if (*place == nullptr) return;  // twice, or not a hook: nothing to be done about it
  *place = hook->next;
  hook->removed = true;
  if (running_here == hook) {
    hook->release_after_run = true;
  } else {
    while (hook->runs_in == own_name()) guard.wait();
    guard.unlock();
    if (hook->release != nullptr) hook->release(hook->argument);
    guard.lock();
  }
  drop(*hook);
}

void Registry::drop(cs_hook& hook) {
  if (--hook.references == 0) std::free(&hook);
}

void Registry::drop(Run& run) {
  if (--run.references != 0) return;
  for (std::size_t i = 0; i < run.count; ++i) drop(*run.jobs[i].hook);
  std::free(&run);
}

bool Registry::take_turn(bool wait) {
  Guard guard(*this);
  while (turn_of_ == own_name()) {
    if (!wait) return false;
    guard.wait();
  }
  turn_of_ = own_name();
  return true;
}

void Registry::end_turn() {
  const Guard guard(*this);
  turn_of_ = 0;
  moved_.notify_all();
}

int Registry::begin() {
  {
    const Guard guard(*this);
    if (begun_) return 0;
  }
  cs_stamp now = {};
  if (const int result = cs_generation(&now); result != 0) return result;
  const Guard guard(*this);
  if (!begun_) seen_ = now;
  begun_ = true;
  return 0;
}

bool Registry::changed() {
  const Guard guard(*this);
  return begun_ && cs_changed(&seen_) != 0;
}

int Registry::look(Happened& happened) {
  cs_stamp before;
  {
    const Guard guard(*this);
    before = seen_;
  }
  if (cs_changed(&before) == 0) return 0;
  for (int i = 0; i < kLookTries; ++i) {
    cs_status_report now = {};
    if (cs_status(&now, sizeof(now)) != 0) continue;
    const int changes = cs_changed(&before);
    if (cs_changed(&now.stamp) != 0) continue;
    happened = {};
    happened.changes = static_cast<std::uint32_t>(changes);
    happened.kind = (changes & CS_CHANGED_GENERATION) != 0 ? CS_KIND_RESTORE
                    : (changes & CS_CHANGED_FORK) != 0     ? CS_KIND_FORK
                                                           : CS_KIND_RESUME;
    happened.old_generation = before.generation;
    happened.new_generation = now.stamp.generation;
    std::memcpy(happened.restore_id, now.restore_id, sizeof(happened.restore_id));
    // What changes from here on is another event.
    const Guard guard(*this);
    seen_ = now.stamp;
    return changes != 0 ? 1 : 0;
  }
  return CS_E_UNSTABLE;
}

bool Registry::prepared() {
  const Guard guard(*this);
  return prepared_;
}

Registry::Run* Registry::make_run(const Happened& happened, const Way& way) {
  const Guard guard(*this);
  std::size_t count = 0;
  for (const cs_hook* hook = first_; hook != nullptr; hook = hook->next)
    count += hook->phase == happened.phase;
  void* memory = std::calloc(1, sizeof(Run) + count * sizeof(Job));
  if (memory == nullptr) return nullptr;
  auto* run = new (memory) Run{};
  run->references = 1;
  run->round = 1;
  run->on_threads = way.on_threads;
  for (std::uint32_t priority = 0; priority < kPriorities; ++priority) {
    for (cs_hook* hook = first_; hook != nullptr; hook = hook->next) {
      if (hook->phase != happened.phase || hook->priority != priority) continue;
      Job& job = run->jobs[run->count++];
      job.hook = hook;
      job.due = true;
      ++hook->references;
    }
  }
  if (happened.phase == CS_PHASE_BEFORE_SNAPSHOT) std::reverse(run->jobs, run->jobs + run->count);
  cs_event& event = run->event;
  event.phase = happened.phase;
  event.kind = happened.kind;
  event.changes = happened.changes;
  event.number = ++events_;
  event.old_generation = happened.old_generation;
  event.new_generation = happened.new_generation;
  std::memcpy(event.restore_id, happened.restore_id, sizeof(event.restore_id));
  prepared_ = happened.phase == CS_PHASE_BEFORE_SNAPSHOT;
  return run;
}

int Registry::handle(const Happened& happened, const Way& way) {
  Run* run = make_run(happened, way);
  if (run == nullptr) {
    // Not handled: whoever looks next sees it again.
    const Guard guard(*this);
    if (happened.changes != 0) seen_ = {};
    return CS_E_MEMORY;
  }
  bool all_late = false;
  if (way.on_threads) {
    Guard guard(*this);
    if (!start_worker(*run)) {
      const std::uint32_t turn = run->turn;
      guard.unlock();
      work(*run, turn);
      guard.lock();
    }
    while (!run->finished) {
      const std::int64_t now = core::monotonic_now_ns();
      Job* job = run->current;
      if (job != nullptr && now >= run->current_deadline_ns) {
        // The hook is left to its thread, which ends when it returns.
        job->result = CS_HOOK_LATE;
        job->unfinished = true;
        job->duration_ns += now - job->started_ns;
        copy_text(job->detail, sizeof(job->detail), "did not return within its deadline");
        run->current = nullptr;
        ++run->turn;
        if (!start_worker(*run)) {
          const std::uint32_t turn = run->turn;
          guard.unlock();
          work(*run, turn);
          guard.lock();
        }
        continue;
      }
      if (!all_late && now >= way.deadline_ns) {
        all_late = true;
        guard.unlock();
        if (way.deadline_over != nullptr) way.deadline_over(way.argument);
        guard.lock();
        continue;
      }
      std::int64_t until = all_late ? core::kNoDeadline : way.deadline_ns;
      if (run->current != nullptr) until = std::min(until, run->current_deadline_ns);
      guard.wait(until);
    }
  } else {
    work(*run, 0);
  }
  // The last: what the hooks drew is wiped too.
  if (happened.phase == CS_PHASE_BEFORE_SNAPSHOT) (void)core::ThreadState::wipe_all();
  const Guard guard(*this);
  const int outcome = publish(*run, all_late);
  drop(*run);
  return outcome;
}

namespace {

struct Worker {
  void* run;
  std::uint32_t turn;
};

}  // namespace

// With the lock held. A child of a fork that is in here has no use for it: it has no such run.
bool Registry::start_worker(Run& run) {
  auto* worker = static_cast<Worker*>(std::malloc(sizeof(Worker)));
  if (worker == nullptr) return false;
  *worker = {.run = &run, .turn = run.turn};
  ++run.references;
#ifdef CLONESAFE_TESTING
  ++workers_for_testing;
#endif
  pthread_t thread = {};
  if (start_thread(worker_main, worker, "clonesafe-hook", thread)) {
    (void)::pthread_detach(thread);
    return true;
  }
#ifdef CLONESAFE_TESTING
  --workers_for_testing;
#endif
  --run.references;
  std::free(worker);
  return false;
}

void* Registry::worker_main(void* argument) {
  const Worker worker = *static_cast<Worker*>(argument);
  std::free(argument);
  Run& run = *static_cast<Run*>(worker.run);
  the_registry.work(run, worker.turn);
  {
    const Guard guard(the_registry);
    the_registry.drop(run);
  }
#ifdef CLONESAFE_TESTING
  --workers_for_testing;
#endif
  return nullptr;
}

// The next one to run, nullptr after the last. With the lock held.
Registry::Job* Registry::next_job(Run& run) {
  for (;;) {
    while (run.next < run.count) {
      Job& job = run.jobs[run.next++];
      if (!job.due) continue;
      job.due = false;
      return &job;
    }
    bool again = false;
    for (std::size_t i = 0; i < run.count && run.round < kRounds; ++i) {
      Job& job = run.jobs[i];
      job.due = job.result == CS_HOOK_RETRY && !job.skipped;
      again |= job.due;
    }
    if (!again) return nullptr;
    if (run.on_threads) {
      const std::int64_t until = core::monotonic_now_ns() + (kRetryPauseNs << (run.round - 1));
      while (core::monotonic_now_ns() < until) moved_.wait(lock_, until);
    }
    ++run.round;
    run.next = 0;
  }
}

void Registry::work(Run& run, std::uint32_t turn) {
  Guard guard(*this);
  while (run.turn == turn) {
    Job* job = next_job(run);
    if (job == nullptr) {
      run.finished = true;
      moved_.notify_all();
      return;
    }
    cs_hook& hook = *job->hook;
    if (hook.removed) {
      job->skipped = true;
      continue;
    }
    if (hook.runs_in == own_name()) {
      job->result = CS_HOOK_LATE;
      copy_text(job->detail, sizeof(job->detail), "has not returned since an event before");
      continue;
    }
    hook.runs_in = own_name();
    ++job->attempts;
    job->started_ns = core::monotonic_now_ns();
    run.current = job;
    run.current_deadline_ns = job->started_ns + hook.deadline_ns;
    cs_event event = run.event;
    event.attempt = job->attempts;
    char detail[CS_HOOK_DETAIL] = {};
    event.detail = detail;
    if (run.on_threads) moved_.notify_all();  // whoever waits has another deadline

    guard.unlock();
    const cs_hook* const before = running_here;
    running_here = &hook;
    const int result = hook.function(&event, hook.argument);
    running_here = before;
    const bool release = [&] {
      const Guard again(*this);
      return hook.release_after_run;
    }();
    if (release && hook.release != nullptr) hook.release(hook.argument);
    guard.lock();

    hook.runs_in = 0;
    moved_.notify_all();
    if (run.turn != turn) return;  // given up: what it returned is too late
    run.current = nullptr;
    const std::int64_t took = core::monotonic_now_ns() - job->started_ns;
    job->duration_ns += took;
    detail[sizeof(detail) - 1] = '\0';
    copy_text(job->detail, sizeof(job->detail), detail);
    if (took > hook.deadline_ns) {
      job->result = CS_HOOK_LATE;
      (void)std::snprintf(job->detail, sizeof(job->detail), "returned %d after its deadline",
                          result);
    } else if (result >= CS_HOOK_OK && result <= CS_HOOK_FAIL_CLOSED) {
      job->result = result;
    } else {
      job->result = CS_HOOK_FAIL_CLOSED;
      if (detail[0] == '\0')
        (void)std::snprintf(job->detail, sizeof(job->detail), "returned %d", result);
    }
  }
}

// With the lock held.
int Registry::publish(Run& run, bool all_late) {
  int outcome = all_late ? CS_HOOK_LATE : CS_HOOK_OK;
  auto* reports =
      static_cast<Reports*>(std::malloc(sizeof(Reports) + run.count * sizeof(cs_hook_report)));
  if (reports != nullptr) reports->count = 0;
  for (std::size_t i = 0; i < run.count; ++i) {
    const Job& job = run.jobs[i];
    if (job.skipped) continue;
    outcome = std::max(outcome, job.result);
    if (reports == nullptr) continue;
    cs_hook_report& report = reports->entries[reports->count++];
    report = {};
    report.event = run.event.number;
    report.duration_us = static_cast<std::uint64_t>(job.duration_ns) / 1000;
    report.phase = job.hook->phase;
    report.priority = job.hook->priority;
    report.result = job.result;
    report.attempts = job.attempts;
    std::memcpy(report.name, job.hook->name, sizeof(report.name));
    std::memcpy(report.detail, job.detail, sizeof(report.detail));
  }
  Reports* before = reports_;
  reports_ = reports;
  std::free(before);
  outcome_ = outcome;
  return outcome;
}

int Registry::outcome() {
  const Guard guard(*this);
  return outcome_;
}

int Registry::report(cs_hook_report* reports, std::size_t size, std::size_t capacity) {
  const Guard guard(*this);
  if (reports_ == nullptr) return 0;
  for (std::size_t i = 0; i < std::min(capacity, reports_->count); ++i) {
    auto* to = reinterpret_cast<unsigned char*>(reports) + i * size;
    std::memset(to, 0, size);
    std::memcpy(to, &reports_->entries[i], std::min(size, sizeof(cs_hook_report)));
  }
  return static_cast<int>(reports_->count);
}

void Registry::describe_failure(char* text, std::size_t size) {
  const Guard guard(*this);
  (void)std::snprintf(text, size, "the hooks did not end in time");
  if (reports_ == nullptr) return;
  for (std::size_t i = 0; i < reports_->count; ++i) {
    const cs_hook_report& report = reports_->entries[i];
    if (report.result == CS_HOOK_OK) continue;
    const char* detail = report.detail;
    if (detail[0] == '\0')
      detail = report.result == CS_HOOK_RETRY ? "not ready after retries" : "failed";
    (void)std::snprintf(text, size, "hook %s: %s", report.name, detail);
    return;
  }
}

#ifdef CLONESAFE_TESTING
constinit std::atomic<int> Registry::workers_for_testing = 0;

void Registry::restart_for_testing() {
  const Guard guard(*this);
  turn_of_ = 0;
  events_ = 0;
  prepared_ = false;
  begun_ = false;
  std::free(reports_);
  reports_ = nullptr;
  outcome_ = CS_HOOK_OK;
}
#endif

}  // namespace clonesafe::hooks
