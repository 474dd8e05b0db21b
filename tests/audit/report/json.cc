// report.json: the fields that scripts rely on, and no others.

#include <algorithm>
#include <boost/json.hpp>

#include "tests/audit/report/compare.h"

namespace clonesafe::audit {
namespace {

namespace json = boost::json;

// A probe's figures in the runs of one mode, with and without RDRAND together: null if there is
// none.
json::value figures(const Report& report, const Row& row, std::string_view mode) {
  std::uint64_t duplicates = 0, samples = 0;
  std::optional<std::uint64_t> window;
  bool any = false;
  for (std::size_t i = 0; i < report.columns.size(); ++i) {
    const ProbeFinding* cell = row.cells[i];
    if (report.columns[i].run->mode != mode || cell == nullptr) continue;
    any = true;
    duplicates += cell->duplicates;
    samples += cell->samples;
    if (cell->window_us) window = std::max(window.value_or(0), *cell->window_us);
  }
  if (!any) return nullptr;
  json::object object{{"duplicates", duplicates}, {"samples", samples}};
  if (mode == "unannounced") object["window_us"] = window ? json::value(*window) : json::value();
  return object;
}

json::value percentiles_json(const Percentiles& times) {
  if (!times.p50 || !times.p99) return nullptr;
  return {{"p50", *times.p50}, {"p99", *times.p99}};
}

}  // namespace

std::string report_json(const Report& report) {
  json::array probes;
  for (const Row& row : report.rows) {
    probes.push_back({{"name", row.name},
                      {"without", figures(report, row, "without")},
                      {"with", figures(report, row, "announced")},
                      {"unannounced", figures(report, row, "unannounced")},
                      {"tier", row.tier},
                      {"needs_hook", row.needs_hook}});
  }
  return json::serialize(json::object{{"kernel", report.kernel},
                                      {"clones", report.clones},
                                      {"probes", std::move(probes)},
                                      {"restore_us", percentiles_json(report.restore_us)},
                                      {"first_exit_us", percentiles_json(report.first_exit_us)},
                                      {"safe_us", percentiles_json(report.safe_us)}});
}

}  // namespace clonesafe::audit
