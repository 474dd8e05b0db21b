#ifndef CLONESAFE_GUEST_AGENT_HOOKS_WATCHERS_H_
#define CLONESAFE_GUEST_AGENT_HOOKS_WATCHERS_H_

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>

#include "guest_agent/core/agent.h"
#include "guest_agent/hooks/hooks.h"

namespace clonesafe::agent {

// Programs that keep a connection to hear of every snapshot and restore, and acknowledge each
// (docs/protocols/agent.md). The agent waits, a bounded time, for those that are tracked; the
// others hold up nothing.
class Watchers final : public Hooks {
 public:
  using Id = std::uint64_t;
  struct Watcher {
    std::string name;
    pid_t pid = 0;
    bool tracked = false;
    std::function<void(std::string line)> push;  // must not call back
  };
  struct Acks {
    std::size_t tracked = 0;
    std::vector<std::string> missing;  // names of those that have not acknowledged the last event
  };

  Watchers(Timers& timers, std::chrono::milliseconds deadline)
      : timers_(timers), deadline_(deadline) {}

  Id add(Watcher watcher);
  void remove(Id id);
  // `event` is the id that an event had; an error is the watcher's own, and makes its result a
  // failure. Refused for anything but the last event.
  Status ack(Id id, const std::string& event, const std::string& error);
  // Calls `done` when every tracked watcher has acknowledged the last event, or at the time limit;
  // at once where too many wait already.
  void wait(std::chrono::milliseconds limit, const std::function<void(const Acks&)>& done);
  // The agent's state is another: told to all. A restore too, if nobody had to be waited for.
  void observe(const AgentStatus& status);

  std::size_t count() const { return watchers_.size(); }
  Acks acks() const;
  std::vector<Watcher> list() const;

  bool any(const HookEvent& event) override;
  void run(const HookEvent& event, Done done) override;
  void cancel() override { done_ = nullptr; }

 private:
  struct Entry {
    Watcher watcher;
    bool acked = true;
    std::uint64_t us = 0;
    std::string error;
  };
  void tell(const std::string& what, const Restore& restore, const std::string& cause);
  void settle();
  std::vector<RepairResult> results(bool late) const;

  Timers& timers_;
  const std::chrono::milliseconds deadline_;
  std::map<Id, Entry> watchers_;
  Id last_id_ = 0;
  std::uint64_t event_ = 0;
  std::chrono::steady_clock::time_point told_at_;
  std::optional<Id16> told_restore_;
  std::optional<clonesafe_generation_state> told_state_;
  Done done_;
  std::map<std::uint64_t, std::function<void(const Acks&)>> waiting_;
  std::uint64_t last_wait_ = 0;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_HOOKS_WATCHERS_H_
