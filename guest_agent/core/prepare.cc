// The agent's part in an announced snapshot: freeze, answer, and thaw when it is over, whichever
// way it ends.
#include <fmt/core.h>

#include "guest_agent/base/log.h"
#include "guest_agent/core/agent.h"

namespace clonesafe::agent {
namespace {

constexpr std::chrono::milliseconds kFreezePoll{1};

}  // namespace

void Agent::prepare(const Prepare& message) {
  check("host");
  if (preparation_) {
    parts_.host.send(prepared_line(
        message.id, fail("the snapshot '" + preparation_->id + "' is being prepared"), {}));
    return;
  }
  preparation_ = {.id = message.id,
                  .serial = ++preparations_,
                  .started = std::chrono::steady_clock::now(),
                  .answered = false};
  if (auto asked = parts_.freezer.freeze(); !asked) {
    answer_prepare(asked);
    return;
  }
  const std::uint64_t serial = preparations_;
  parts_.timers.after(message.deadline, [this, serial] { preparation_expired(serial); });
  look_whether_frozen(serial);
}

void Agent::look_whether_frozen(std::uint64_t serial) {
  if (!preparation_ || preparation_->serial != serial) return;
  const auto frozen = parts_.freezer.frozen();
  if (!frozen) {
    answer_prepare(fail(frozen.error()));
  } else if (*frozen) {
    answer_prepare({});
  } else {
    parts_.timers.after(kFreezePoll, [this, serial] { look_whether_frozen(serial); });
  }
}

void Agent::answer_prepare(const Status& outcome) {
  if (!preparation_) return;
  preparation_->answered = true;
  const auto spent = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - preparation_->started);
  const std::size_t cgroups = parts_.freezer.folders().size();
  const RepairResult step = {.name = "freeze",
                             .outcome = !outcome       ? Outcome::kFailed
                                        : cgroups == 0 ? Outcome::kSkipped
                                                       : Outcome::kOk,
                             .us = static_cast<std::uint64_t>(spent.count()),
                             .detail = !outcome       ? outcome.error().message()
                                       : cgroups == 0 ? "no cgroups are configured"
                                                      : fmt::format("{} cgroups", cgroups)};
  parts_.host.send(prepared_line(preparation_->id, outcome, {step}));
  if (!outcome) undo_preparation(outcome.error().message());
}

void Agent::preparation_expired(std::uint64_t serial) {
  if (!preparation_ || preparation_->serial != serial) return;
  // In a clone this timer may be the first thing that runs. The words come first: the workload must
  // not run before it is repaired.
  check("deadline");
  if (!preparation_ || preparation_->serial != serial) return;
  if (!preparation_->answered) {
    answer_prepare(fail("the workload was not frozen within the deadline"));
  } else {
    undo_preparation("no snapshot within the deadline");
  }
}

void Agent::undo_preparation(std::string_view why) {
  if (!preparation_ && !parts_.freezer.held()) return;
  log_info(fmt::format("snapshot preparation ends: {}", why));
  std::vector<RepairResult> results;
  thaw(results);
}

void Agent::thaw(std::vector<RepairResult>& results) {
  preparation_.reset();
  if (!parts_.freezer.held()) return;
  const auto start = std::chrono::steady_clock::now();
  const Status thawed = parts_.freezer.thaw();
  if (!thawed) log_error("thaw: " + thawed.error().message());
  results.push_back(
      {.name = "thaw",
       .outcome = thawed ? Outcome::kOk : Outcome::kFailed,
       .us = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                            std::chrono::steady_clock::now() - start)
                                            .count()),
       .detail = thawed ? std::string() : thawed.error().message()});
}

}  // namespace clonesafe::agent
