#include "guest_agent/control/status_json.h"

#include <boost/json.hpp>

#include "guest_agent/control/result_list.h"
#include "guest_agent/hooks/hook_folder.h"
#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe::agent {

namespace json = boost::json;
std::string prepared_json(const Status& outcome, const std::vector<RepairResult>& steps) {
  json::object answer = {{"prepared", outcome.has_value()}, {"steps", result_list(steps)}};
  if (!outcome) answer["error"] = outcome.error().message();
  return json::serialize(answer);
}

std::string hooks_json(const std::string& folder, const Watchers& watchers) {
  json::object answer = {{"folder", folder}};
  for (const HookPhase phase : {HookPhase::kBeforeSnapshot, HookPhase::kAfterRestore}) {
    json::array list;
    const auto programs = folder.empty()
                              ? Result<std::vector<HookProgram>>(std::vector<HookProgram>())
                              : list_hook_programs(folder, phase);
    if (!programs) answer["error"] = programs.error().message();
    for (const HookProgram& program : programs.value_or(std::vector<HookProgram>()))
      list.push_back({{"name", program.name}, {"refused", program.refused}});
    answer[phase == HookPhase::kBeforeSnapshot ? "before_snapshot" : "after_restore"] =
        std::move(list);
  }
  json::array connected;
  for (const Watchers::Watcher& watcher : watchers.list())
    connected.push_back({{"name", watcher.name}, {"tracked", watcher.tracked}});
  answer["watchers"] = std::move(connected);
  return json::serialize(answer);
}

std::string status_json(const AgentFacts& facts, const AgentStatus& status,
                        const SecretStatus& secrets, bool polls) {
  const auto text = [](std::string_view view) { return std::string(view); };
  json::array sources;
  for (const SourceReport& source : facts.sources) {
    sources.push_back({{"name", source.name},
                       {"present", source.present},
                       {"wakes", source.wakes},
                       {"detail", source.detail}});
  }
  const Restore& restore = status.restore;
  const json::object object = {
      {"agent", facts.version},
      {"kernel", facts.kernel},
      {"state", state_name(status.state)},
      {"tier", tier_name(status.tier)},
      {"generation", hex(restore.generation)},
      {"reseed_epoch", hex(restore.reseed_epoch)},
      {"restore_id", hex(restore.restore_id)},
      {"vm_generation_id", hex(restore.vm_generation_id)},
      {"kind", text(name_of(status.kind))},
      {"decided_by", text(restore.decided_by)},
      {"separates_siblings", restore.separates_siblings},
      {"restores", status.restores},
      {"woken_by", status.woken_by},
      {"repair_us", status.repair_us},
      {"repairs", result_list(status.repairs)},
      {"sources", std::move(sources)},
      {"polls", polls},
      {"prepared", status.prepared},
      {"hooks_running", status.hooks_running},
      {"held", status.held},
      {"retrying", status.retrying},
      {"page", json::object({{"path", facts.page_path},
                             {"pinned", status.pinned},
                             {"pin_note", status.pin_weakness},
                             {"registered", status.registered},
                             {"error", status.registration_error}})},
      {"secrets", json::object({{"pages", secrets.pages},
                                {"host_covers", secrets.host_covers},
                                {"error", secrets.problem}})},
      {"host", json::object({{"connected", status.host_welcomed}, {"name", status.host}})}};
  return json::serialize(object);
}

}  // namespace clonesafe::agent
