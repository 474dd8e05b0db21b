#include "guest_agent/hooks/hooks.h"

#include <algorithm>
#include <iterator>

namespace clonesafe::agent {

std::string_view name_of(HookPhase phase) {
  return phase == HookPhase::kBeforeSnapshot ? "before-snapshot" : "after-restore";
}

bool HookChain::any(const HookEvent& event) {
  return std::ranges::any_of(links_, [&](Hooks* link) { return link->any(event); });
}

void HookChain::run(const HookEvent& event, Done done) {
  cancel();
  event_ = event;
  done_ = std::move(done);
  results_.clear();
  left_ = links_;
  if (event.phase == HookPhase::kAfterRestore) std::ranges::reverse(left_);
  run_next();
}

void HookChain::run_next() {
  if (left_.empty()) {
    const Done done = std::exchange(done_, nullptr);
    if (done) done(std::exchange(results_, {}));
    return;
  }
  Hooks* const link = left_.back();
  left_.pop_back();
  link->run(event_, [this](std::vector<RepairResult> results) {
    std::ranges::move(results, std::back_inserter(results_));
    run_next();
  });
}

void HookChain::cancel() {
  done_ = nullptr;
  left_.clear();
  results_.clear();
  for (Hooks* const link : links_) link->cancel();
}

}  // namespace clonesafe::agent
