#include "guest_agent/repairs/repair.h"

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

void RepairTable::run(Stage stage, const RepairEvent& event, std::vector<RepairResult>& results) {
  using Clock = std::chrono::steady_clock;
  for (const auto& repair : repairs_) {
    if (repair->stage() != stage) continue;
    const auto start = Clock::now();
    Repair::Finding finding = repair->run(event);
    const auto spent = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
    results.push_back({.name = std::string(repair->name()),
                       .outcome = finding.outcome,
                       .us = static_cast<std::uint64_t>(spent.count()),
                       .detail = std::move(finding.detail)});
  }
}

}  // namespace clonesafe::agent
