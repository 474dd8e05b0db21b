// The agent's part in an announced snapshot: hooks, freeze, answer; and thaw and hooks when it is
// over, whichever way it ends.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "guest_agent/base/elapsed.h"
#include "guest_agent/base/files.h"
#include "guest_agent/base/log.h"
#include "guest_agent/core/agent.h"

namespace clonesafe::agent {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kFreezePoll{1};

}  // namespace

void Agent::prepare(const Prepare& announced, Prepared answer) {
  check("prepare");
  if (preparation_)
    return answer(fail("the snapshot '" + preparation_->id + "' is being prepared"), {});
  if (hooks_running_) return answer(fail("hooks of what was before still run"), {});
  const std::uint64_t serial = ++preparations_;
  preparation_ = {
      .id = announced.id, .serial = serial, .answer = std::move(answer), .started = Clock::now()};
  parts_.timers.after(announced.deadline, [this, serial] { preparation_expired(serial); });
  const HookEvent event = {
      .phase = HookPhase::kBeforeSnapshot, .cause = "snapshot", .restore = current_};
  if (!any_hooks(event)) return freeze(serial);
  hooks_running_ = true;
  if (auto marked = replace_file(mark_path(), "", 0600); !marked)
    log_warning(marked.error().message());
  parts_.hooks->run(event, [this](auto results) { hooks_before_ended(std::move(results)); });
}

void Agent::hooks_before_ended(std::vector<RepairResult> results) {
  hooks_running_ = false;
  if (!preparation_) return;
  const auto failed = std::ranges::find(results, Outcome::kFailed, &RepairResult::outcome);
  const Status outcome =
      failed == results.end() ? Status() : fail(failed->name + ": " + failed->detail);
  preparation_->steps = std::move(results);
  if (!outcome) return answer_prepare(outcome);
  freeze(preparation_->serial);
}

void Agent::freeze(std::uint64_t serial) {
  if (!preparation_) return;
  preparation_->started = Clock::now();
  if (auto asked = parts_.freezer.freeze(); !asked) return frozen(asked);
  look_whether_frozen(serial);
}

void Agent::look_whether_frozen(std::uint64_t serial) {
  if (!preparation_ || preparation_->serial != serial) return;
  const auto stands_still = parts_.freezer.frozen();
  if (!stands_still) {
    frozen(fail(stands_still.error()));
  } else if (*stands_still) {
    frozen({});
  } else {
    parts_.timers.after(kFreezePoll, [this, serial] { look_whether_frozen(serial); });
  }
}

void Agent::frozen(const Status& outcome) {
  if (!preparation_) return;
  const std::size_t cgroups = parts_.freezer.folders().size();
  preparation_->steps.push_back({.name = "freeze",
                                 .outcome = !outcome       ? Outcome::kFailed
                                            : cgroups == 0 ? Outcome::kSkipped
                                                           : Outcome::kOk,
                                 .us = microseconds_since(preparation_->started),
                                 .detail = !outcome       ? outcome.error().message()
                                           : cgroups == 0 ? "no cgroups are configured"
                                                          : fmt::format("{} cgroups", cgroups)});
  const HookEvent event = {
      .phase = HookPhase::kBeforeSnapshot, .cause = "snapshot", .restore = current_};
  if (!outcome || parts_.trim == nullptr || !parts_.trim->any(event))
    return answer_prepare(outcome);
  trimming_ = true;
  parts_.trim->run(event, [this](const auto& results) { trimmed(results); });
}

// Memory that stays makes a snapshot larger, not wrong.
void Agent::trimmed(const std::vector<RepairResult>& results) {
  trimming_ = false;
  if (!preparation_) return;
  std::ranges::copy(results, std::back_inserter(preparation_->steps));
  answer_prepare({});
}

void Agent::answer_prepare(const Status& outcome) {
  if (!preparation_) return;
  preparation_->answered = true;
  preparation_->answer(outcome, preparation_->steps);
  if (changed_) changed_();
  if (!outcome) undo_preparation(outcome.error().message());
}

void Agent::preparation_expired(std::uint64_t serial) {
  if (!preparation_ || preparation_->serial != serial) return;
  // In a clone this timer may be the first thing that runs. The words come first: the workload must
  // not run before it is repaired.
  check("deadline");
  if (!preparation_ || preparation_->serial != serial) return;
  if (preparation_->answered) return undo_preparation("no snapshot within the deadline");
  if (hooks_running_) return answer_prepare(fail("the hooks had not ended within the deadline"));
  if (trimming_) return answer_prepare(fail("memory was not given back within the deadline"));
  frozen(fail("the workload was not frozen within the deadline"));
}

Status Agent::resume() {
  check("resume");
  if (!preparation_) return fail("no snapshot is being prepared");
  undo_preparation("by request");
  return {};
}

void Agent::undo_preparation(std::string_view why) {
  if (!preparation_ && !parts_.freezer.held()) return;
  log_info(fmt::format("snapshot preparation ends: {}", why));
  std::vector<RepairResult> results;
  thaw(results);
  run_hooks_of_undoing();
  if (changed_) changed_();
}

void Agent::run_hooks_of_undoing() {
  const HookEvent event = {
      .phase = HookPhase::kAfterRestore, .cause = "undone", .restore = current_};
  if (!any_hooks(event)) return;
  hooks_running_ = true;
  parts_.hooks->run(event, [this](const std::vector<RepairResult>& results) {
    hooks_running_ = false;
    (void)::unlink(mark_path().c_str());
    for (const RepairResult& result : results) {
      if (result.outcome == Outcome::kFailed) log_warning(result.name + ": " + result.detail);
    }
    if (changed_) changed_();
  });
}

// Whatever was prepared is over.
void Agent::thaw(std::vector<RepairResult>& results) {
  preparation_.reset();
  if (std::exchange(hooks_running_, false)) parts_.hooks->cancel();
  if (std::exchange(trimming_, false)) parts_.trim->cancel();
  if (!parts_.freezer.held()) return;
  const auto start = Clock::now();
  const Status thawed = parts_.freezer.thaw();
  if (!thawed) log_error("thaw: " + thawed.error().message());
  results.push_back({.name = "thaw",
                     .outcome = thawed ? Outcome::kOk : Outcome::kFailed,
                     .us = microseconds_since(start),
                     .detail = thawed ? std::string() : thawed.error().message()});
}

}  // namespace clonesafe::agent
