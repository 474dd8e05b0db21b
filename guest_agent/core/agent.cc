#include "guest_agent/core/agent.h"

#include <fmt/core.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "guest_agent/base/digest.h"
#include "guest_agent/base/elapsed.h"
#include "guest_agent/base/log.h"

namespace clonesafe::agent {
namespace {

using Clock = std::chrono::steady_clock;

bool tells_of(const clonesafe_generation_slot& slot, const Restore& restore) {
  return std::equal(restore.restore_id.begin(), restore.restore_id.end(), slot.restore_id);
}

bool any_failed(const std::vector<RepairResult>& results) {
  return std::ranges::any_of(results,
                             [](const RepairResult& r) { return r.outcome == Outcome::kFailed; });
}

// Whether hooks that are told of `other` know all that `one` would tell.
bool less_news(RestoreKind one, RestoreKind other) {
  const auto news = [](RestoreKind kind) {
    switch (kind) {
      case RestoreKind::kBoot:
        return 0;
      case RestoreKind::kResume:
        return 1;
      case RestoreKind::kMove:
        return 2;
      case RestoreKind::kClone:
        return 3;
    }
    return 3;
  };
  return news(one) < news(other);
}

PageWords page_words(const clonesafe_generation_slot& slot) {
  PageWords words = {.generation = slot.generation,
                     .reseed_epoch = slot.reseed_epoch,
                     .host_realtime_ns = slot.host_realtime_ns,
                     .registered = slot.tier == CLONESAFE_TIER_WORD};
  std::ranges::copy(slot.restore_id, words.restore_id.begin());
  std::ranges::copy(slot.vm_generation_id, words.vm_generation_id.begin());
  return words;
}

// A value that the epoch never had: a count would repeat when a clone goes back to an older one.
std::uint64_t next_epoch(std::uint64_t last) {
  std::uint64_t epoch = 0;
  if (::getrandom(&epoch, sizeof(epoch), GRND_NONBLOCK) != sizeof(epoch)) epoch = last + 1;
  return epoch == 0 || epoch == last ? last + 1 : epoch;
}

}  // namespace

Result<Bytes32> diversifier_of(const Restore& restore, const clonesafe_generation_slot* in_force,
                               const SeedPage* seed) {
  if (in_force != nullptr && tells_of(*in_force, restore) && !is_zero(in_force->diversifier)) {
    Bytes32 diversifier;
    std::copy_n(in_force->diversifier, diversifier.size(), diversifier.begin());
    return diversifier;
  }
  if (seed != nullptr) {
    Seed bytes;
    if (seed->copy(restore.restore_id, bytes)) return diversifier_from_seed(bytes.bytes());
  }
  // Siblings would come to the same one, and programs would rely on it.
  if (!restore.separates_siblings) return Bytes32{};
  return digest(
      "clonesafe diversifier without a seed v1",
      {restore.restore_id,
       restore.vm_generation_id,
       {reinterpret_cast<const std::uint8_t*>(&restore.generation), sizeof(restore.generation)}});
}

Result<std::unique_ptr<Agent>> Agent::start(const Parts& parts) {
  auto restore = decide(parts.sources.read());
  if (!restore) return fail(std::move(restore.error()));
  auto diversifier = diversifier_of(*restore, nullptr, parts.seed);
  if (!diversifier) return fail(std::move(diversifier.error()));
  auto page = PublishedPage::open(parts.page_path, *restore, *diversifier);
  if (!page) return fail(std::move(page.error()));
  auto in_force = page->read();
  if (!in_force) return fail(std::move(in_force.error()));
  const bool created = page->created();
  if (!created) {
    parts.sources.set_page_words(page_words(in_force->slot));
    restore = decide(parts.sources.read());
    if (!restore) return fail(std::move(restore.error()));
  }

  std::unique_ptr<Agent> agent(new Agent(parts, std::move(*page)));
  // Workload that an agent froze and didn't live to thaw.
  parts.freezer.adopt();
  const clonesafe_generation_slot& slot = in_force->slot;
  agent->kernel_rng_epoch_ = slot.kernel_rng_epoch;
  if (!created && tells_of(slot, *restore) && slot.state == CLONESAFE_STATE_SAFE) {
    agent->current_ = *restore;
    agent->kind_ = restore->kind.value_or(RestoreKind::kBoot);
    agent->known_ = true;
    agent->state_ = CLONESAFE_STATE_SAFE;
    agent->repaired_before_ = true;
    agent->woken_by_ = "start";
    std::copy_n(slot.diversifier, agent->diversifier_.size(), agent->diversifier_.begin());
    agent->results_.push_back({.name = "agent",
                               .outcome = Outcome::kSkipped,
                               .detail = "started again; repaired before"});
    agent->thaw(agent->results_);
    if (::access(agent->mark_path().c_str(), F_OK) == 0) agent->run_hooks_of_undoing();
    // The page lost its pin with the earlier agent: it has to be registered again.
    agent->publish_tier();
    return agent;
  }
  if (!created) {
    agent->known_ = true;
    agent->current_.generation = slot.generation;
  }
  agent->repair_until_settled(*restore, "start");
  agent->restores_ = 0;
  return agent;
}

Result<Restore> Agent::look() {
  const auto in_force = page_.read();
  const bool vmm_wrote = in_force && in_force->slot.published_ns == 0;
  if (vmm_wrote) parts_.sources.set_page_words(page_words(in_force->slot));
  return decide(parts_.sources.read());
}

void Agent::check(std::string_view woken_by) {
  auto restore = look();
  if (!restore) return log_error(restore.error().message());
  // The VMM wrote the page since this agent last did: another restore, even if the host gave it an
  // id that it gave before.
  const auto in_force = page_.read();
  const bool restored = in_force && in_force->slot.published_ns == 0;
  if (restore->restore_id == current_.restore_id && !restored) return;
  repair_until_settled(*restore, woken_by);
}

RestoreKind Agent::kind_of(const Restore& restore) const {
  const bool other_machine = known_ && restore.generation != current_.generation;
  const RestoreKind silent = !known_         ? RestoreKind::kBoot
                             : other_machine ? RestoreKind::kClone
                                             : RestoreKind::kResume;
  const RestoreKind kind = restore.kind.value_or(silent);
  // A clone that was snapshotted before its agent had repaired it: what the VMM did last doesn't
  // undo that the identity is a copy.
  const bool keeps = kind == RestoreKind::kResume || kind == RestoreKind::kMove;
  return keeps && other_machine ? RestoreKind::kClone : kind;
}

void Agent::repair_until_settled(Restore restore, std::string_view woken_by) {
  woken_at_ = Clock::now();
  for (;;) {
    const bool done = repair(restore);
    // Without a registered page nothing refuses a commit: look once more.
    auto now = look();
    if (!now) {
      log_error(now.error().message());
      break;
    }
    if (done && now->restore_id == restore.restore_id) break;
    restore = *now;
  }
  woken_by_ = woken_by;
  ++restores_;
  retries_ = 0;
  retrying_ = false;
  ++retry_serial_;
  // A page that is only locked may have moved.
  if (welcomed_) register_page();
  if (owed_ && !held_) return run_hooks_of_restore();
  settled();
}

// Everything that belongs to this restore has ended.
void Agent::settled() {
  repair_us_ = microseconds_since(woken_at_);
  log_results();
  report_safe();
  if (state_ != CLONESAFE_STATE_SAFE) retry_later();
  if (state_ != CLONESAFE_STATE_SAFE && kind_ != RestoreKind::kBoot &&
      parts_.on_failure == FailurePolicy::kPowerOff)
    power_off_later();
  if (changed_) changed_();
}

bool Agent::any_hooks(const HookEvent& event) const {
  return parts_.hooks != nullptr && parts_.hooks->any(event);
}

void Agent::run_hooks_of_restore() {
  hooks_running_ = true;
  parts_.hooks->run({.phase = HookPhase::kAfterRestore,
                     .cause = std::string(name_of(owed_.value_or(kind_))),
                     .restore = current_},
                    [this](auto results) { hooks_of_restore_ended(std::move(results)); });
  if (changed_) changed_();
}

void Agent::hooks_of_restore_ended(std::vector<RepairResult> results) {
  hooks_running_ = false;
  owed_.reset();
  (void)::unlink(mark_path().c_str());
  std::ranges::move(results, std::back_inserter(results_));
  const auto state = any_failed(results_) ? CLONESAFE_STATE_DEGRADED : CLONESAFE_STATE_SAFE;
  if (!publish(current_, state)) return check("hooks");
  state_ = state;
  settled();
}

void Agent::log_results() const {
  log_info(fmt::format("{} {} ({}, woken by {}): {} in {} us", name_of(kind_),
                       hex(current_.restore_id), current_.decided_by, woken_by_,
                       state_ == CLONESAFE_STATE_SAFE ? "safe" : "degraded", repair_us_));
  for (const RepairResult& result : results_) {
    const std::string line =
        fmt::format("{}: {} in {} us{}{}", result.name, name_of(result.outcome), result.us,
                    result.detail.empty() ? "" : ": ", result.detail);
    result.outcome == Outcome::kFailed ? log_warning(line) : log_debug(line);
  }
}

// Some failures pass: a generator that wasn't seeded yet at boot, a file system that was read-only.
void Agent::retry_later() {
  constexpr int kMostRetries = 12;
  constexpr std::chrono::milliseconds kFirst{100};
  retrying_ = retries_ < kMostRetries && parts_.repairs.any_failed(results_);
  if (!retrying_) return;
  const std::uint64_t serial = retry_serial_;
  parts_.timers.after(kFirst * (1 << retries_++), [this, serial] { retry(serial); });
}

void Agent::retry(std::uint64_t serial) {
  check("retry");
  if (serial != retry_serial_) return;
  std::vector<RepairResult> results = results_;
  parts_.repairs.run_failed({.restore = current_, .kind = kind_, .diversifier = diversifier_},
                            results);
  const auto failed = [](const std::vector<RepairResult>& list, std::string_view name) {
    return std::ranges::any_of(list, [name](const RepairResult& r) {
      return r.outcome == Outcome::kFailed && r.name == name;
    });
  };
  if (failed(results_, "kernel_rng") && !failed(results, "kernel_rng")) {
    kernel_rng_epoch_ = next_epoch(kernel_rng_epoch_);
  }
  results_ = std::move(results);
  if (held_ && !parts_.repairs.any_failed(results_)) return let_go();
  const auto state = any_failed(results_) ? CLONESAFE_STATE_DEGRADED : CLONESAFE_STATE_SAFE;
  if (!publish(current_, state)) return check("retry");
  if (state != CLONESAFE_STATE_SAFE) return retry_later();
  state_ = state;
  retrying_ = false;
  log_results();
  report_safe();
  if (changed_) changed_();
}

bool Agent::repair(const Restore& restore) {
  const RestoreKind kind = kind_of(restore);
  // current_ changes only at the end, when the repairs are done: a clone that is overtaken in the
  // middle by another restore still needs its new identity. A boot has no past, and is one from
  // now.
  if (!known_) current_.generation = restore.generation;
  known_ = true;
  if (auto in_force = page_.read(); in_force) {
    auto diversifier = diversifier_of(restore, &in_force->slot, parts_.seed);
    if (!diversifier) {
      log_error(diversifier.error().message());
    } else {
      diversifier_ = *diversifier;
    }
    // A registered page says so since before the first instruction.
    const bool told =
        tells_of(in_force->slot, restore) && in_force->slot.state == CLONESAFE_STATE_REPAIRING;
    if (!told && !publish(restore, CLONESAFE_STATE_REPAIRING)) return false;
  }

  RepairEvent event = {.restore = restore, .kind = kind, .diversifier = diversifier_};
  if (event.restore.metadata.empty() && document_heard_) event.restore.metadata = *document_heard_;
  std::vector<RepairResult> results;
  parts_.repairs.run(Stage::kKernelRng, event, results);
  if (!any_failed(results)) kernel_rng_epoch_ = next_epoch(kernel_rng_epoch_);
  if (!publish(restore, CLONESAFE_STATE_REPAIRING)) return false;

  for (const Stage stage : {Stage::kClock, Stage::kIdentity, Stage::kDocument})
    parts_.repairs.run(stage, event, results);
  held_ = parts_.on_failure == FailurePolicy::kHold && kind != RestoreKind::kBoot &&
          any_failed(results);
  if (held_) {
    hold_workload();
  } else {
    thaw(results);
  }
  // Hooks come last. Those of an earlier restore that this one overtook were not told of it yet.
  owed_ = std::max(owed_.value_or(kind), kind, less_news);
  const bool hooks = !held_ && *owed_ != RestoreKind::kBoot &&
                     any_hooks({.phase = HookPhase::kAfterRestore,
                                .cause = std::string(name_of(*owed_)),
                                .restore = restore});
  const auto state = hooks                 ? CLONESAFE_STATE_REPAIRING
                     : any_failed(results) ? CLONESAFE_STATE_DEGRADED
                                           : CLONESAFE_STATE_SAFE;
  if (!publish(restore, state)) return false;

  if (!hooks && !held_) owed_.reset();
  current_ = event.restore;
  kind_ = kind;
  state_ = state;
  repaired_before_ = false;
  results_ = std::move(results);
  return true;
}

bool Agent::publish(const Restore& restore, clonesafe_generation_state state) {
  // Control word first, then the words: a restore between the two refuses the commit, and one
  // before both is seen in the words.
  const auto in_force = page_.read();
  if (!in_force) {
    log_error(in_force.error().message());
    return true;
  }
  const auto now = look();
  if (now && now->restore_id != restore.restore_id) return false;
  return page_.commit(in_force->control,
                      make_slot(restore, diversifier_, kernel_rng_epoch_, state,
                                registered_ ? CLONESAFE_TIER_WORD : CLONESAFE_TIER_LAGGING));
}

void Agent::publish_tier() {
  const auto tier = registered_ ? CLONESAFE_TIER_WORD : CLONESAFE_TIER_LAGGING;
  const auto in_force = page_.read();
  if (!in_force || in_force->slot.tier == tier) return;
  if (!publish(current_, state_)) check("page");
}

AgentStatus Agent::status() const {
  return {.restore = current_,
          .kind = kind_,
          .state = state_,
          .tier = registered_ ? CLONESAFE_TIER_WORD : CLONESAFE_TIER_LAGGING,
          .pinned = page_.pin().is_firm(),
          .pin_weakness = page_.pin().weakness(),
          .registered = registered_,
          .registration_error = registration_error_,
          .host_welcomed = welcomed_,
          .host = host_name_,
          .prepared = preparation_.has_value(),
          .hooks_running = hooks_running_,
          .held = held_,
          .retrying = retrying_,
          .restores = restores_,
          .woken_by = woken_by_,
          .repair_us = repair_us_,
          .repairs = results_};
}

}  // namespace clonesafe::agent
