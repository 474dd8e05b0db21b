#include "guest_agent/repairs/repair.h"

#include <algorithm>
#include <chrono>

#include "guest_agent/base/elapsed.h"

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
  const auto start = std::chrono::steady_clock::now();
  Repair::Finding finding = repair.run(event);
  return {.name = std::string(repair.name()),
          .outcome = finding.outcome,
          .us = microseconds_since(start),
          .detail = std::move(finding.detail)};
}

}  // namespace

void RepairTable::run(Stage stage, const RepairEvent& event, std::vector<RepairResult>& results) {
  for (const auto& repair : repairs_) {
    if (repair->stage() == stage) results.push_back(run_one(*repair, event));
  }
}

void RepairTable::run_again(Stage stage, const RepairEvent& event,
                            std::vector<RepairResult>& results) {
  for (const auto& repair : repairs_) {
    if (repair->stage() != stage) continue;
    RepairResult result = run_one(*repair, event);
    const auto before = std::ranges::find(results, result.name, &RepairResult::name);
    if (before == results.end()) {
      results.push_back(std::move(result));
    } else {
      *before = std::move(result);
    }
  }
}

void RepairTable::run_failed(const RepairEvent& event, std::vector<RepairResult>& results) {
  for (RepairResult& result : results) {
    if (result.outcome != Outcome::kFailed) continue;
    if (Repair* const repair = find(result.name)) result = run_one(*repair, event);
  }
}

bool RepairTable::any_failed(const std::vector<RepairResult>& results) const {
  return std::ranges::any_of(results, [this](const RepairResult& result) {
    return result.outcome == Outcome::kFailed && find(result.name) != nullptr;
  });
}

Repair* RepairTable::find(std::string_view name) const {
  const auto repair =
      std::ranges::find_if(repairs_, [name](const auto& entry) { return entry->name() == name; });
  return repair == repairs_.end() ? nullptr : repair->get();
}

}  // namespace clonesafe::agent
