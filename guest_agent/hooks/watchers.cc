#include "guest_agent/hooks/watchers.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "guest_agent/base/elapsed.h"
#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe::agent {

namespace json = boost::json;
namespace {

constexpr std::size_t kMostWaiting = 256;

}  // namespace

Watchers::Id Watchers::add(Watcher watcher) {
  watchers_[++last_id_] = {.watcher = std::move(watcher)};
  return last_id_;
}

void Watchers::remove(Id id) {
  // One that went away can't be waited for.
  if (watchers_.erase(id) > 0) settle();
}

Status Watchers::ack(Id id, const std::string& event, const std::string& error) {
  const auto found = watchers_.find(id);
  if (found == watchers_.end()) return fail("not a watcher");
  if (event != std::to_string(event_)) return fail("no event of this id waits for an answer");
  Entry& entry = found->second;
  if (entry.acked) return {};
  entry.acked = true;
  entry.us = microseconds_since(told_at_);
  entry.error = error;
  settle();
  return {};
}

Watchers::Acks Watchers::acks() const {
  Acks acks;
  for (const auto& [id, entry] : watchers_) {
    if (!entry.watcher.tracked) continue;
    ++acks.tracked;
    if (!entry.acked) acks.missing.push_back(entry.watcher.name);
  }
  return acks;
}

std::vector<Watchers::Watcher> Watchers::list() const {
  std::vector<Watcher> list;
  for (const auto& [id, entry] : watchers_) list.push_back(entry.watcher);
  return list;
}

void Watchers::wait(std::chrono::milliseconds limit, const std::function<void(const Acks&)>& done) {
  if (acks().missing.empty() || waiting_.size() >= kMostWaiting) return done(acks());
  const std::uint64_t turn = ++last_wait_;
  waiting_[turn] = done;
  timers_.after(limit, [this, turn] {
    const auto waiting = waiting_.extract(turn);
    if (!waiting.empty()) waiting.mapped()(acks());
  });
}

void Watchers::tell(const std::string& what, const Restore& restore, const std::string& cause) {
  ++event_;
  told_at_ = std::chrono::steady_clock::now();
  const json::object event = {{"event", what},
                              {"id", std::to_string(event_)},
                              {"cause", cause},
                              {"generation", hex(restore.generation)},
                              {"reseed_epoch", hex(restore.reseed_epoch)},
                              {"restore_id", hex(restore.restore_id)}};
  const std::string line = json::serialize(event);
  for (auto& [id, entry] : watchers_) {
    entry.acked = false;
    entry.error.clear();
    entry.us = 0;
    entry.watcher.push(line);
  }
}

void Watchers::observe(const AgentStatus& status) {
  const std::string cause(name_of(status.kind));
  if (std::exchange(told_restore_, status.restore.restore_id) != status.restore.restore_id)
    tell("restored", status.restore, cause);
  if (std::exchange(told_state_, status.state) == status.state) return;
  const std::string line =
      json::serialize(json::object{{"event", "state"},
                                   {"state", state_name(status.state)},
                                   {"restore_id", hex(status.restore.restore_id)}});
  for (const auto& [id, entry] : watchers_) entry.watcher.push(line);
}

bool Watchers::any(const HookEvent&) {
  return std::ranges::any_of(watchers_, [](const auto& w) { return w.second.watcher.tracked; });
}

void Watchers::run(const HookEvent& event, Done done) {
  const bool before = event.phase == HookPhase::kBeforeSnapshot;
  tell(before                    ? "before_snapshot"
       : event.cause == "undone" ? "undone"
                                 : "restored",
       event.restore, event.cause);
  if (!before) told_restore_ = event.restore.restore_id;
  done_ = std::move(done);
  const std::uint64_t told = event_;
  timers_.after(deadline_, [this, told] {
    if (told != event_ || done_ == nullptr) return;
    const Done end = std::exchange(done_, nullptr);
    end(results(true));
  });
  settle();
}

// Ends what waits, if nothing is missing any more.
void Watchers::settle() {
  if (!acks().missing.empty()) return;
  for (const auto& [turn, done] : std::exchange(waiting_, {})) done(acks());
  if (done_ == nullptr) return;
  const Done end = std::exchange(done_, nullptr);
  end(results(false));
}

std::vector<RepairResult> Watchers::results(bool late) const {
  std::vector<RepairResult> results;
  for (const auto& [id, entry] : watchers_) {
    if (!entry.watcher.tracked) continue;
    RepairResult result = {.name = "watcher " + entry.watcher.name, .us = entry.us};
    if (late && !entry.acked)
      result.detail = "no answer within " + std::to_string(deadline_.count()) + " ms";
    else
      result.detail = entry.error;
    if (!result.detail.empty()) result.outcome = Outcome::kFailed;
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace clonesafe::agent
