// core: what the agent does, step by step, when a source says that the machine was restored, and
// when the host announces a snapshot. No event loop in here: whoever runs one calls the methods.
#ifndef CLONESAFE_GUEST_AGENT_CORE_AGENT_H_
#define CLONESAFE_GUEST_AGENT_CORE_AGENT_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "guest_agent/control/host_messages.h"
#include "guest_agent/core/failure_policy.h"
#include "guest_agent/freeze/cgroup_freezer.h"
#include "guest_agent/hooks/hooks.h"
#include "guest_agent/page/published_page.h"
#include "guest_agent/repairs/repair.h"
#include "guest_agent/sources/seed_page.h"
#include "guest_agent/sources/source.h"

namespace clonesafe::agent {

// The agent's end of the host channel.
class HostLink {
 public:
  virtual ~HostLink() = default;
  // Queues one line; dropped if there is no connection (the protocol starts afresh on the next
  // one).
  virtual void send(std::string line) = 0;
};

class Timers {
 public:
  virtual ~Timers() = default;
  virtual void after(std::chrono::milliseconds delay, std::function<void()> run) = 0;
};

// What the agent can tell about itself, for status, doctor and wait.
struct AgentStatus {
  Restore restore;
  RestoreKind kind = RestoreKind::kBoot;
  clonesafe_generation_state state = CLONESAFE_STATE_REPAIRING;
  clonesafe_tier tier = CLONESAFE_TIER_NONE;
  bool pinned = false;
  std::string pin_weakness;
  bool registered = false;
  std::string registration_error;
  bool host_welcomed = false;
  std::string host;
  bool prepared = false;
  bool hooks_running = false;
  bool held = false;           // the workload stands still because a repair failed
  bool retrying = false;       // failed repairs will be tried again
  std::uint64_t restores = 0;  // since this agent started; the first look is not one
  std::string woken_by;
  std::uint64_t repair_us = 0;  // from the wake to the published outcome
  std::vector<RepairResult> repairs;
};

// Single-threaded. Repairs happen inside one of these calls, so one is never interleaved with
// another. Hooks run between them: until those of a restore have ended, the page says `repairing`
// and the host has no report.
class Agent {
 public:
  struct Parts {
    SourceSet& sources;
    SeedPage* seed = nullptr;
    RepairTable& repairs;
    CgroupFreezer& freezer;
    Hooks* hooks = nullptr;  // null: there are none
    Hooks* trim = nullptr;   // before a snapshot, when the workload is frozen; as above
    HostLink& host;
    Timers& timers;
    FailurePolicy on_failure = FailurePolicy::kContinue;
    std::function<void()> power_off = {};
    std::string page_path = CLONESAFE_GENERATION_PAGE_PATH;
  };

  // Looks at the words, opens the page, and repairs unless the page says that an earlier agent has
  // done so for this very restore.
  static Result<std::unique_ptr<Agent>> start(const Parts& parts);

  // Something may have happened. Looks at the words; if they tell of another restore than the one
  // that was repaired last, repairs it.
  void check(std::string_view woken_by);

  void host_said(const HostMessage& message);
  // The connection is gone: the host stopped, or this machine was restored.
  void host_lost();

  AgentStatus status() const;
  // Announced by somebody in this machine in place of the host: hooks, freeze, then the answer.
  // Undone at the deadline, by `resume`, or by a restore.
  using Prepared = std::function<void(const Status&, const std::vector<RepairResult>& steps)>;
  void prepare(const Prepare& announced, Prepared answer);
  Status resume();

  // Called whenever what `status` gives may have changed.
  void on_change(std::function<void()> callback) { changed_ = std::move(callback); }

 private:
  struct Preparation {
    std::string id;
    std::uint64_t serial = 0;
    Prepared answer;
    std::chrono::steady_clock::time_point started;
    std::vector<RepairResult> steps = {};
    bool answered = false;
  };

  Agent(const Parts& parts, PublishedPage page) : parts_(parts), page_(std::move(page)) {}

  // What the sources say now, the agent's own page among them.
  Result<Restore> look();
  void repair_until_settled(Restore restore, std::string_view woken_by);
  // False: overtaken by another restore; nothing of this one counts any more.
  bool repair(const Restore& restore);
  void settled();
  bool any_hooks(const HookEvent& event) const;
  void run_hooks_of_restore();
  void hold_workload();
  void let_go();
  void power_off_later();
  void hooks_of_restore_ended(std::vector<RepairResult> results);
  bool publish(const Restore& restore, clonesafe_generation_state state);
  void publish_tier();
  void retry_later();
  void retry(std::uint64_t serial);
  void log_results() const;
  RestoreKind kind_of(const Restore& restore) const;
  void report_safe();
  void register_page();
  // Acts on the document that the host tells, where no repair has done so.
  void take_document(const HostWords& words);
  void degrade_or_recover();

  void hooks_before_ended(std::vector<RepairResult> results);
  void freeze(std::uint64_t serial);
  void look_whether_frozen(std::uint64_t serial);
  void preparation_expired(std::uint64_t serial);
  void frozen(const Status& outcome);
  void trimmed(const std::vector<RepairResult>& results);
  void answer_prepare(const Status& outcome);
  void undo_preparation(std::string_view why);
  void run_hooks_of_undoing();
  // A file beside the page, so that an agent that dies between the two does not leave hooks without
  // their second half.
  std::string mark_path() const { return parts_.page_path + ".prepared"; }
  void thaw(std::vector<RepairResult>& results);

  Parts parts_;
  PublishedPage page_;
  std::function<void()> changed_;

  // Of the restore that was repaired last, or is being repaired.
  Restore current_;
  RestoreKind kind_ = RestoreKind::kBoot;
  bool known_ = false;  // whether current_ is of this machine's past at all
  Bytes32 diversifier_ = {};
  std::uint64_t kernel_rng_epoch_ = 0;
  clonesafe_generation_state state_ = CLONESAFE_STATE_REPAIRING;
  std::vector<RepairResult> results_;
  std::string woken_by_;
  std::chrono::steady_clock::time_point woken_at_;
  std::uint64_t repair_us_ = 0;
  std::uint64_t restores_ = 0;
  // Of the failed repairs of current_. The serial makes an older restore's timer harmless.
  int retries_ = 0;
  bool retrying_ = false;
  std::uint64_t retry_serial_ = 0;

  bool welcomed_ = false;
  std::string host_name_;
  std::optional<Id16> host_restore_id_;
  // Of the words that are being heard: the document of a restore that is first seen now.
  std::optional<std::string> document_heard_;
  // An earlier agent has repaired this restore.
  bool repaired_before_ = false;
  bool registered_ = false;
  std::string registration_error_;
  std::optional<PageRegistration> registration_;

  std::optional<Preparation> preparation_;
  std::uint64_t preparations_ = 0;

  bool held_ = false;
  bool hooks_running_ = false;
  bool trimming_ = false;
  // What hooks are still to be told, if anything: a restore that overtakes them adds to it.
  std::optional<RestoreKind> owed_;
};

// What tells siblings apart in the page. In order: what the page in force already says of this very
// restore (the VMM's own, or this agent's before it was restarted), the seed's, and last a digest
// of the ids, if these are unique (`restore.separates_siblings`); else zeros.
Result<Bytes32> diversifier_of(const Restore& restore, const clonesafe_generation_slot* in_force,
                               const SeedPage* seed);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CORE_AGENT_H_
