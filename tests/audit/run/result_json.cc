// result.json: what one audit found, for `clonesafe-audit compare` and for scripts.

#include <boost/json.hpp>

#include "tests/audit/run/audit_run.h"

namespace clonesafe::audit {
namespace {

namespace json = boost::json;

json::value optional_number(const std::optional<std::uint64_t>& number) {
  return number ? json::value(*number) : json::value(nullptr);
}

std::optional<std::uint64_t> number_or_null(const json::value& value) {
  if (value.is_null()) return std::nullopt;
  return value.to_number<std::uint64_t>();
}

AuditResult decode(const json::value& value) {
  AuditResult result{.label = json::value_to<std::string>(value.at("label")),
                     .vmm = json::value_to<std::string>(value.at("vmm")),
                     .kernel = json::value_to<std::string>(value.at("kernel")),
                     .mode = json::value_to<std::string>(value.at("mode")),
                     .cpu_mask = json::value_to<std::string>(value.at("cpu_mask")),
                     .clones = value.at("clones").to_number<unsigned>(),
                     .probes = {},
                     .restores = {}};
  for (const json::value& probe : value.at("probes").as_array()) {
    result.probes.push_back(
        {.name = json::value_to<std::string>(probe.at("name")),
         .samples = probe.at("samples").to_number<std::uint64_t>(),
         .duplicates = probe.at("duplicates").to_number<std::uint64_t>(),
         .in_hand = probe.at("in_hand").to_number<std::uint64_t>(),
         .in_hand_duplicates = probe.at("in_hand_duplicates").to_number<std::uint64_t>(),
         .window_us = number_or_null(probe.at("window_us")),
         .tier = json::value_to<std::string>(probe.at("tier"))});
  }
  for (const json::value& restore : value.at("restores").as_array()) {
    result.restores.push_back({.clone = restore.at("clone").to_number<unsigned>(),
                               .restore_us = number_or_null(restore.at("restore_us")),
                               .first_exit_us = number_or_null(restore.at("first_exit_us")),
                               .safe_us = number_or_null(restore.at("safe_us"))});
  }
  return result;
}

}  // namespace

std::string to_json(const AuditResult& result) {
  json::array probes;
  for (const ProbeFinding& probe : result.probes) {
    probes.push_back({{"name", probe.name},
                      {"samples", probe.samples},
                      {"duplicates", probe.duplicates},
                      {"in_hand", probe.in_hand},
                      {"in_hand_duplicates", probe.in_hand_duplicates},
                      {"window_us", optional_number(probe.window_us)},
                      {"tier", probe.tier},
                      {"needs_hook", needs_hook(probe.name)}});
  }
  json::array restores;
  for (const RestoreTimes& times : result.restores) {
    restores.push_back({{"clone", times.clone},
                        {"restore_us", optional_number(times.restore_us)},
                        {"first_exit_us", optional_number(times.first_exit_us)},
                        {"safe_us", optional_number(times.safe_us)}});
  }
  return json::serialize(json::object{{"label", result.label},
                                      {"vmm", result.vmm},
                                      {"kernel", result.kernel},
                                      {"mode", result.mode},
                                      {"cpu_mask", result.cpu_mask},
                                      {"clones", result.clones},
                                      {"probes", std::move(probes)},
                                      {"restores", std::move(restores)}});
}

Result<AuditResult> load_result(const std::filesystem::path& folder) {
  const auto path = folder / "result.json";
  const std::string text = read_text(path);
  if (text.empty()) return fail("no result in " + folder.string());
  // Boost.JSON reports a missing member or a wrong type by exception; here they become one error.
  try {
    return decode(json::parse(text));
  } catch (const std::exception& error) {
    return fail(path.string() + ": " + error.what());
  }
}

}  // namespace clonesafe::audit
