#include "libclonesafe/hooks/watcher.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "libclonesafe/core/agent_socket.h"
#include "libclonesafe/core/fork_lock.h"
#include "libclonesafe/core/seams.h"
#include "libclonesafe/core/thread_state.h"
#include "libclonesafe/hooks/agent_line.h"
#include "libclonesafe/hooks/registry.h"
#include "libclonesafe/hooks/thread.h"

namespace clonesafe::hooks {
namespace {

using core::ForkGuard;
using core::ForkLock;
using core::monotonic_now_ns;

constexpr std::uint32_t kDefaultIntervalMs = 100;
constexpr std::uint32_t kDefaultDeadlineMs = 4500;
constexpr std::size_t kLongestLine = 65'536;
constexpr std::time_t kPatienceSeconds = 1;
constexpr std::int64_t kMillisecond = 1'000'000;

std::int64_t agent_grace_ns() {
#ifdef CLONESAFE_TESTING
  return core::seams_for_testing.agent_grace_ms * kMillisecond;
#else
  return 1000 * kMillisecond;
#endif
}

std::int64_t agent_retry_ns() {
#ifdef CLONESAFE_TESTING
  return core::seams_for_testing.agent_retry_ms * kMillisecond;
#else
  return 500 * kMillisecond;
#endif
}

// The descriptors, which a child of a fork must not keep: while it had the connection, the agent
// would wait for it in vain. Held over a fork, so that the child knows all there are.
struct Descriptors {
  ForkLock lock;
  std::atomic<int> socket = -1;
  std::atomic<int> wake = -1;
};
constinit Descriptors descriptors;
constinit std::atomic<bool> forks_are_handled = false;
constinit std::atomic<int> watch_state = CS_WATCH_ALONE;

void close_descriptor(std::atomic<int>& fd) {
  if (const int open = fd.exchange(-1); open >= 0) (void)::close(open);
}

void before_fork() {
  descriptors.lock.lock();
}

void after_fork_in_parent() {
  descriptors.lock.unlock();
}

void after_fork_in_child() {
  descriptors.lock.unlock();
  close_descriptor(descriptors.socket);
  close_descriptor(descriptors.wake);
}

// A connection that watches. Used by the watcher thread only.
class Agent {
 public:
  bool connected() const { return descriptors.socket.load() >= 0; }
  bool tracked() const { return tracked_; }

  void connect() {
    int socket = -1;
    {
      const ForkGuard guard(descriptors.lock);
      UniqueFd made = core::make_agent_socket(kPatienceSeconds);
      if (!made) return;
      socket = made.release();
      descriptors.socket = socket;
    }
    used_ = 0;
    tracked_ = true;
    watches_ = false;
    if (!core::connect_to_agent(socket) || !watch()) close();
  }
  void close() {
    const ForkGuard guard(descriptors.lock);
    close_descriptor(descriptors.socket);
    watches_ = false;
  }
  // Has the agent taken this program for a watcher?
  bool watches() const { return watches_; }
  void set_watches() { watches_ = true; }
  // Who may not be waited for is told all the same. False: that was refused too.
  bool watch_untracked() {
    if (!tracked_) return false;
    tracked_ = false;
    return watch();
  }

  bool send(const char* text) const {
    const auto length = static_cast<ssize_t>(std::strlen(text));
    return ::send(descriptors.socket.load(), text, static_cast<std::size_t>(length),
                  MSG_NOSIGNAL) == length;
  }
  bool acknowledge(const char* id, const char* error) const {
    char text[256];
    if (error == nullptr) {
      (void)std::snprintf(text, sizeof(text), "{\"command\":\"ack\",\"id\":\"%s\"}\n", id);
    } else {
      // At most 64 bytes of printable ASCII, and nothing that would need quoting.
      char words[65] = {};
      for (std::size_t i = 0; i + 1 < sizeof(words) && error[i] != '\0'; ++i) {
        const char c = error[i];
        words[i] = c < ' ' || c > '~' || c == '"' || c == '\\' ? '\'' : c;
      }
      (void)std::snprintf(text, sizeof(text),
                          "{\"command\":\"ack\",\"id\":\"%s\",\"error\":\"%s\"}\n", id, words);
    }
    return send(text);
  }
  // Takes what has come, without waiting. False: the connection has ended.
  bool receive() {
    const ssize_t count =
        ::recv(descriptors.socket.load(), text_ + used_, sizeof(text_) - used_, MSG_DONTWAIT);
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    used_ += static_cast<std::size_t>(count);
    return count > 0;
  }
  // The next whole line. False: there is none; `broken` if there can't be one any more.
  bool next_line(AgentLine& line, bool& broken) {
    const void* end = std::memchr(text_, '\n', used_);
    if (end == nullptr) {
      broken = used_ == sizeof(text_);
      return false;
    }
    const auto length = static_cast<std::size_t>(static_cast<const char*>(end) - text_);
    broken = !read_agent_line(text_, length, line);
    used_ -= length + 1;
    std::memmove(text_, text_ + length + 1, used_);
    return !broken;
  }

 private:
  bool watch() const {
    char name[40] = {};
    std::size_t used = 0;
    for (const char* c = ::program_invocation_short_name; *c != '\0' && used + 1 < sizeof(name);
         ++c) {
      if (*c > ' ' && *c <= '~' && *c != '"' && *c != '\\') name[used++] = *c;
    }
    char text[160];
    (void)std::snprintf(text, sizeof(text),
                        "{\"command\":\"watch\",\"name\":\"%s\",\"tracked\":%s}\n", name,
                        tracked_ ? "true" : "false");
    return send(text);
  }

  bool tracked_ = true;
  bool watches_ = false;
  std::size_t used_ = 0;
  char text_[kLongestLine];
};

class Watcher {
 public:
  explicit Watcher(const cs_watch_options& options)
      : interval_ms_(options.interval_ms != 0 ? options.interval_ms : kDefaultIntervalMs),
        deadline_ns_((options.deadline_ms != 0 ? options.deadline_ms : kDefaultDeadlineMs) *
                     kMillisecond),
        with_agent_(options.without_agent == 0) {}

  void run() {
    while (!stop_.load(std::memory_order_acquire)) {
      if (with_agent_ && !agent_.connected() && monotonic_now_ns() >= retry_at_ns_) {
        agent_.connect();
        retry_at_ns_ = monotonic_now_ns() + agent_retry_ns();
      }
      wait();
      if (agent_.connected() && !listen()) lose_agent();
      look();
      watch_state.store(!agent_.connected() || !agent_.watches() ? CS_WATCH_ALONE
                        : agent_.tracked()                       ? CS_WATCH_TRACKED
                                                                 : CS_WATCH_UNTRACKED,
                        std::memory_order_release);
    }
    if (agent_.connected()) agent_.close();
  }
  void stop() { stop_.store(true, std::memory_order_release); }

 private:
  void wait() {
    pollfd files[] = {{.fd = descriptors.wake.load(), .events = POLLIN, .revents = 0},
                      {.fd = descriptors.socket.load(), .events = POLLIN, .revents = 0}};
    (void)::poll(files, 2, static_cast<int>(std::min<std::uint32_t>(interval_ms_, 3'600'000)));
  }

  // False: the connection is of no use any more.
  bool listen() {
    const bool open = agent_.receive();
    AgentLine line;
    bool broken = false;
    while (agent_.next_line(line, broken)) {
      if (!take(line)) return false;
    }
    return open && !broken;
  }

  bool take(const AgentLine& line) {
    using What = AgentLine::What;
    switch (line.what) {
      case What::kWatching:
        // What happened while nobody watched?
        agent_.set_watches();
        return agent_.send("{\"command\":\"status\"}\n");
      case What::kRefused:
        return agent_.watches() || agent_.watch_untracked();
      case What::kStatus:
        if (restore_known_ && is_new(line)) after(&line, false);
        remember(line);
        return true;
      case What::kBeforeSnapshot:
        before(line);
        return true;
      case What::kRestored:
        after(&line, true);
        remember(line);
        return true;
      case What::kUndone:
        after(&line, true);
        return true;
      case What::kOther:
        break;
    }
    return true;
  }

  void lose_agent() {
    agent_.close();
    // Whoever announced the snapshot can't say any more whether it was taken.
    if (registry().prepared()) after(nullptr, false);
  }

  // Looks for itself, and leaves it to the agent to say what it was, if it does so in time.
  void look() {
    core::Process* shared = core::process();
    if (shared != nullptr) shared->sources.rescan();
    if (!registry().changed()) {
      changed_since_ns_ = 0;
      return;
    }
    const std::int64_t now = monotonic_now_ns();
    if (changed_since_ns_ == 0) changed_since_ns_ = now;
    if (agent_.watches() && now - changed_since_ns_ < agent_grace_ns()) return;
    after(nullptr, false);
  }

  void before(const AgentLine& line) {
    const Registry::Turn turn(registry(), true);
    Happened happened = {.phase = CS_PHASE_BEFORE_SNAPSHOT, .kind = CS_KIND_SNAPSHOT};
    happened.old_generation = happened.new_generation = line.generation;
    std::memcpy(happened.restore_id, line.restore_id, sizeof(happened.restore_id));
    answer(line, handle(happened, &line));
  }

  // Runs the after-hooks if there is a reason to. `line` is the agent's word on it, nullptr if
  // there is none.
  void after(const AgentLine* line, bool acknowledge) {
    const Registry::Turn turn(registry(), true);
    Happened happened;
    int outcome = registry().outcome();
    if (const int changed = registry().look(happened); changed == 1) {
      // A child's or a boot's own word for it stands.
      if (line != nullptr && line->kind != 0) happened.kind = line->kind;
      outcome = handle(happened, acknowledge ? line : nullptr);
    } else if (changed == 0 && (registry().prepared() || (line != nullptr && is_new(*line)))) {
      happened = {};
      happened.kind = line != nullptr && line->kind != 0 ? line->kind : CS_KIND_UNDONE;
      if (line != nullptr) {
        happened.new_generation = line->generation;
        happened.old_generation = generation_ != 0 ? generation_ : line->generation;
        std::memcpy(happened.restore_id, line->restore_id, sizeof(happened.restore_id));
        if (happened.kind == CS_KIND_CLONE) happened.changes = CS_CHANGED_GENERATION;
        if (happened.kind != CS_KIND_UNDONE) happened.changes |= CS_CHANGED_RESEED;
      }
      outcome = handle(happened, acknowledge ? line : nullptr);
    } else if (changed < 0) {
      outcome = CS_HOOK_LATE;
    }
    if (acknowledge && line != nullptr) answer(*line, outcome);
  }

  // Whether no after-hooks have run for this restore yet.
  bool is_new(const AgentLine& line) const {
    return line.what != AgentLine::What::kUndone && line.kind != 0 &&
           (!restore_known_ || std::memcmp(line.restore_id, restore_id_, sizeof(restore_id_)) != 0);
  }
  void remember(const AgentLine& line) {
    restore_known_ = true;
    std::memcpy(restore_id_, line.restore_id, sizeof(restore_id_));
    generation_ = line.generation;
  }

  struct Asked {
    Watcher* watcher;
    const AgentLine* line;
  };
  int handle(const Happened& happened, const AgentLine* line) {
    changed_since_ns_ = 0;
    Asked asked = {.watcher = this, .line = line};
    const Way way = {.on_threads = true,
                     .deadline_ns = monotonic_now_ns() + deadline_ns_,
                     .deadline_over =
                         [](void* argument) {
                           const auto* late = static_cast<Asked*>(argument);
                           if (late->line == nullptr) return;
                           (void)late->watcher->agent_.acknowledge(
                               late->line->id, "the hooks have not ended in time");
                         },
                     .argument = &asked};
    const int outcome = registry().handle(happened, way);
    const std::uint8_t none[16] = {};
    if (happened.phase == CS_PHASE_AFTER_RESTORE && happened.kind != CS_KIND_UNDONE &&
        std::memcmp(happened.restore_id, none, sizeof(none)) != 0) {
      restore_known_ = true;
      std::memcpy(restore_id_, happened.restore_id, sizeof(restore_id_));
    }
    return outcome;
  }

  void answer(const AgentLine& line, int outcome) {
    char words[CS_HOOK_DETAIL] = {};
    if (outcome < 0)
      (void)std::snprintf(words, sizeof(words), "%s", cs_strerror(outcome));
    else if (outcome != CS_HOOK_OK)
      registry().describe_failure(words, sizeof(words));
    // One that can't be sent is found out by listening.
    (void)agent_.acknowledge(line.id, outcome == CS_HOOK_OK ? nullptr : words);
  }

  const std::uint32_t interval_ms_;
  const std::int64_t deadline_ns_;
  const bool with_agent_;
  std::atomic<bool> stop_ = false;
  std::int64_t retry_at_ns_ = 0;
  std::int64_t changed_since_ns_ = 0;
  // The restore that the agent or the page told of last.
  bool restore_known_ = false;
  std::uint8_t restore_id_[16] = {};
  std::uint64_t generation_ = 0;
  Agent agent_;
};

struct State {
  ForkLock lock;  // held while the thread is started and ended
  // The name of the one in which `watcher` runs.
  std::atomic<std::uint64_t> process = 0;
  unsigned starts = 0;
  Watcher* watcher = nullptr;
  pthread_t thread = {};
};
constinit State state;

std::uint64_t own_name() {
  return core::own_fork_word() + 1;
}

void* watcher_main(void* argument) {
  static_cast<Watcher*>(argument)->run();
  return nullptr;
}

int start_thread_with(const cs_watch_options& options) {
  if (!forks_are_handled.exchange(true) &&
      ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0) {
    forks_are_handled = false;
    return CS_E_MEMORY;
  }
  if (const int result = registry().begin(); result != 0) return result;
  {
    const ForkGuard guard(descriptors.lock);
    close_descriptor(descriptors.wake);  // a parent's, if a fork escaped pthread_atfork
    close_descriptor(descriptors.socket);
    descriptors.wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  }
  void* memory = std::malloc(sizeof(Watcher));
  if (descriptors.wake.load() >= 0 && memory != nullptr) {
    auto* watcher = new (memory) Watcher(options);
    watch_state.store(CS_WATCH_ALONE);
    if (start_thread(watcher_main, watcher, "clonesafe-watch", state.thread)) {
      state.watcher = watcher;
      state.process.store(own_name(), std::memory_order_release);
      state.starts = 1;
      return 0;
    }
  }
  std::free(memory);
  const ForkGuard guard(descriptors.lock);
  close_descriptor(descriptors.wake);
  return CS_E_MEMORY;
}

}  // namespace

int start_watcher(const cs_watch_options& options) {
  const ForkGuard guard(state.lock);
  if (state.process == own_name()) {
    ++state.starts;
    return 0;
  }
  return start_thread_with(options);
}

int stop_watcher() {
  const ForkGuard guard(state.lock);
  if (state.process != own_name()) return CS_E_INVALID;
  if (--state.starts != 0) return 0;
  state.watcher->stop();
  const std::uint64_t one = 1;
  (void)!::write(descriptors.wake.load(), &one, sizeof(one));
  (void)::pthread_join(state.thread, nullptr);
  state.process = 0;
  std::free(state.watcher);
  state.watcher = nullptr;
  const ForkGuard fds(descriptors.lock);
  close_descriptor(descriptors.wake);
  return 0;
}

int watcher_state() {
  return state.process.load(std::memory_order_acquire) == own_name()
             ? watch_state.load(std::memory_order_acquire)
             : CS_WATCH_OFF;
}

}  // namespace clonesafe::hooks
