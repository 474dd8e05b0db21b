#include "guest_agent/repairs/repair.h"

#include <algorithm>
#include <chrono>

namespace clonesafe::agent {

std::string_view name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kOk:
      return "ok";
    case Outcome::kFailed:
      return "failed";
    case Outcome::kSkipped:
      return "skipped";
  }
  return "unknown";
}

namespace {

RepairResult run_one(Repair& repair, const RepairEvent& event) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  Repair::Finding finding = repair.run(event);
  const auto spent = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
  return {.name = std::string(repair.name()),
          .outcome = finding.outcome,
          .us = static_cast<std::uint64_t>(spent.count()),
          .detail = std::move(finding.detail)};
}

}  // namespace

void RepairTable::run(Stage stage, const RepairEvent& event, std::vector<RepairResult>& results) {
  for (const auto& repair : repairs_) {
    if (repair->stage() == stage) results.push_back(run_one(*repair, event));
  }
}

void RepairTable::run_failed(const RepairEvent& event, std::vector<RepairResult>& results) {
  for (RepairResult& result : results) {
    if (result.outcome != Outcome::kFailed) continue;
    const auto repair =
        std::find_if(repairs_.begin(), repairs_.end(),
                     [&result](const auto& entry) { return entry->name() == result.name; });
    if (repair != repairs_.end()) result = run_one(**repair, event);
  }
}

}  // namespace clonesafe::agent
