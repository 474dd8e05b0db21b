#include "guest_agent/metrics/metrics.h"

#include "libclonesafe/base/prometheus.h"
#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe::agent {
namespace {

using Text = PrometheusText;

void put_truth(Text& text, std::string_view name, std::string_view help, bool truth) {
  text.family(name, "gauge", help);
  text.sample(truth ? 1 : 0);
}

void put_state(Text& text, const AgentStatus& status) {
  text.family("state", "gauge", "1 for the state of this machine's uniqueness, 0 for the others.");
  for (const auto state :
       {CLONESAFE_STATE_REPAIRING, CLONESAFE_STATE_SAFE, CLONESAFE_STATE_DEGRADED})
    text.sample(state == status.state ? 1 : 0, Text::label("state", state_name(state)));
  text.family("tier", "gauge", "1 for how early programs learn of a restore, 0 for the others.");
  for (const auto tier :
       {CLONESAFE_TIER_NONE, CLONESAFE_TIER_LAGGING, CLONESAFE_TIER_ANNOUNCED, CLONESAFE_TIER_WORD})
    text.sample(tier == status.tier ? 1 : 0, Text::label("tier", tier_name(tier)));
  put_truth(text, "prepared", "Whether an announced snapshot is under way.", status.prepared);
}

void put_counts(Text& text, const RestoreCounts& counts) {
  text.family("restores_total", "counter", "Restores that this agent has repaired, by kind.");
  for (const auto kind :
       {RestoreKind::kBoot, RestoreKind::kResume, RestoreKind::kClone, RestoreKind::kMove})
    text.sample(counts.of(kind), Text::label("kind", name_of(kind)));
  text.family("generation_changes_total", "counter",
              "How often this machine became another one while this agent ran.");
  text.sample(counts.generation_changes());
}

// Two results of one name would be one sample twice: the worse counts, and both times.
std::map<std::string, RepairResult> by_name(const std::vector<RepairResult>& results) {
  std::map<std::string, RepairResult> named;
  for (const RepairResult& result : results) {
    const auto [entry, is_first] = named.try_emplace(result.name, result);
    if (is_first) continue;
    entry->second.us += result.us;
    if (result.outcome == Outcome::kFailed) entry->second.outcome = Outcome::kFailed;
  }
  return named;
}

void put_repairs(Text& text, const AgentStatus& status) {
  text.family("repair_seconds", "gauge", "From the last wake to the published outcome.");
  text.seconds(status.repair_us);
  const auto results = by_name(status.repairs);
  if (!results.empty()) {
    text.family("repair_step_result", "gauge", "1 for what came of each repair the last time.");
    for (const auto& [name, result] : results) {
      for (const auto outcome : {Outcome::kOk, Outcome::kFailed, Outcome::kSkipped}) {
        text.sample(outcome == result.outcome ? 1 : 0,
                    Text::label("repair", name) + "," + Text::label("result", name_of(outcome)));
      }
    }
    text.family("repair_step_seconds", "gauge", "How long each repair took the last time.");
    for (const auto& [name, result] : results) text.seconds(result.us, Text::label("repair", name));
  }
  put_truth(text, "retrying", "Whether the repairs that failed will be tried again.",
            status.retrying);
}

void put_sources(Text& text, const AgentFacts& facts, bool polls) {
  if (!facts.sources.empty()) {
    text.family("source_present", "gauge", "Whether this machine has the source.");
    for (const SourceReport& source : facts.sources)
      text.sample(source.present ? 1 : 0, Text::label("source", source.name));
  }
  put_truth(text, "polling", "Whether nothing can wake the agent, so that it looks by itself.",
            polls);
}

void put_host(Text& text, const AgentStatus& status, const SecretStatus& secrets) {
  put_truth(text, "host_connected", "Whether the host answers.", status.host_welcomed);
  put_truth(text, "page_pinned", "Whether the generation page can't move.", status.pinned);
  put_truth(text, "page_registered", "Whether the host writes the generation page at a restore.",
            status.registered);
  text.family("secret_pages", "gauge", "Secret pages that programs have.");
  text.sample(secrets.pages);
  put_truth(text, "secret_pages_covered", "Whether the host keeps them out of snapshots.",
            secrets.host_covers);
}

}  // namespace

void RestoreCounts::look(const AgentStatus& now) {
  by_kind_[now.kind] += now.restores - restores_;
  restores_ = now.restores;
  if (now.restore.generation != generation_) ++generation_changes_;
  generation_ = now.restore.generation;
}

std::uint64_t RestoreCounts::of(RestoreKind kind) const {
  const auto found = by_kind_.find(kind);
  return found == by_kind_.end() ? 0 : found->second;
}

std::string metrics_text(const AgentFacts& facts, const AgentStatus& status,
                         const SecretStatus& secrets, const RestoreCounts& counts, bool polls) {
  Text text("clonesafed_");
  text.family("agent_info", "gauge", "Version of the agent, and of the kernel.");
  text.sample(1, Text::label("version", facts.version) + "," + Text::label("kernel", facts.kernel));
  put_state(text, status);
  put_counts(text, counts);
  put_repairs(text, status);
  put_sources(text, facts, polls);
  put_host(text, status, secrets);
  return text.take();
}

}  // namespace clonesafe::agent
