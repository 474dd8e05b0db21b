// The agent and its host: what the agent reports, and what it does about the host's words.
#include <algorithm>
#include <ctime>

#include "guest_agent/base/log.h"
#include "guest_agent/core/agent.h"

namespace clonesafe::agent {
namespace {

// With the moment at which the host's time was heard.
HostWords heard(HostWords words) {
  timespec now = {};
  if (words.realtime_ns != 0 && ::clock_gettime(CLOCK_MONOTONIC, &now) == 0)
    words.heard_at_ns = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  return words;
}

}  // namespace

void Agent::report_safe() {
  if (!welcomed_ || state_ == CLONESAFE_STATE_REPAIRING) return;
  SafeReport report = {.restore_id = current_.restore_id,
                       .generation = current_.generation,
                       .reseed_epoch = current_.reseed_epoch,
                       .degraded = state_ != CLONESAFE_STATE_SAFE,
                       .sources = parts_.sources.names(),
                       .repairs = results_};
  // Where there is no restore page the ids are this agent's own; the host knows only its own.
  if (current_.decided_by != "restore_page" && host_restore_id_) {
    report.restore_id = *host_restore_id_;
  }
  parts_.host.send(safe_line(report));
}

void Agent::register_page() {
  auto registration = page_.registration();
  if (!registration) {
    registration_error_ = registration.error().message();
    log_warning("generation page not registered: " + registration_error_);
    return;
  }
  if (registration_ == *registration) return;
  registration_ = *registration;
  parts_.host.send(register_line(*registration));
}

void Agent::host_said(const HostMessage& message) {
  if (const auto* const welcome = std::get_if<Welcome>(&message)) {
    welcomed_ = true;
    host_name_ = welcome->host;
    host_restore_id_ = welcome->words.restore_id;
    parts_.sources.set_host_words(heard(welcome->words));
    // A repair reports by itself; without one the host still has to hear of the last.
    const Id16 before = current_.restore_id;
    const std::uint64_t restores = restores_;
    document_heard_ = welcome->words.metadata;
    check("host");
    take_document(welcome->words);
    if (restores == restores_ && before == current_.restore_id) {
      report_safe();
      register_page();
    }
  } else if (const auto* const registered = std::get_if<Registered>(&message)) {
    registered_ = registered->ok;
    registration_error_ = registered->error;
    if (!registered_) log_warning("the host refuses the generation page: " + registered->error);
    publish_tier();
  } else if (const auto* const announced = std::get_if<Prepare>(&message)) {
    prepare(*announced, [this, id = announced->id](const Status& outcome, const auto& steps) {
      parts_.host.send(prepared_line(id, outcome, steps));
    });
  } else if (const auto* const resumed = std::get_if<Resumed>(&message)) {
    host_restore_id_ = resumed->words.restore_id;
    parts_.sources.set_host_words(heard(resumed->words));
    document_heard_ = resumed->words.metadata;
    check("host");
    take_document(resumed->words);
    undo_preparation("resumed");
  } else if (const auto* const abort = std::get_if<Abort>(&message)) {
    check("host");
    if (preparation_ && preparation_->id == abort->id) undo_preparation("aborted by the host");
  }
  if (changed_) changed_();
}

// What the restore page had no room for, or a host without one has to say.
void Agent::take_document(const HostWords& words) {
  document_heard_.reset();
  if (!words.metadata || *words.metadata == current_.metadata) return;
  current_.metadata = *words.metadata;
  // What an earlier agent has given this machine's interfaces somebody may have changed since.
  const RestoreKind kind = repaired_before_ ? RestoreKind::kResume : kind_;
  parts_.repairs.run_again(
      Stage::kDocument, {.restore = current_, .kind = kind, .diversifier = diversifier_}, results_);
  degrade_or_recover();
}

// After `results_` have changed outside of a repair. Hooks that run, and a workload that is held,
// come to their end by what they find there.
void Agent::degrade_or_recover() {
  if (hooks_running_ || held_) return;
  const bool failed = std::ranges::any_of(
      results_, [](const RepairResult& result) { return result.outcome == Outcome::kFailed; });
  const auto state = failed ? CLONESAFE_STATE_DEGRADED : CLONESAFE_STATE_SAFE;
  if (state == state_) return;
  if (!publish(current_, state)) return check("host");
  state_ = state;
  log_results();
  if (!failed || kind_ == RestoreKind::kBoot) return;
  if (parts_.on_failure == FailurePolicy::kHold) {
    held_ = true;
    hold_workload();
  }
  if (parts_.on_failure == FailurePolicy::kPowerOff) power_off_later();
  if (!retrying_) retry_later();
}

void Agent::host_lost() {
  welcomed_ = false;
  host_restore_id_.reset();
  // The registration itself is part of the snapshot and still holds; but whether this host knows it
  // is only certain when it has said so.
  registration_.reset();
  check("vsock");
  if (changed_) changed_();
}

}  // namespace clonesafe::agent
