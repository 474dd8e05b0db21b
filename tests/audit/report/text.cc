// The report as a table for a terminal, and as report.json.

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>

#include "tests/audit/report/compare.h"

namespace clonesafe::audit {
namespace {

namespace json = boost::json;

std::string milliseconds(std::optional<std::uint64_t> us) {
  if (!us) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", static_cast<double>(*us) / 1000.0);
  return text;
}

std::string cell_text(const ProbeFinding* probe) {
  if (probe == nullptr) return "-";
  std::string text = std::to_string(probe->duplicates) + " of " + std::to_string(probe->samples);
  if (probe->window_us) text += " (" + milliseconds(probe->window_us) + " ms)";
  return text;
}

// The word of the report's pages; report.json says it in a field of its own.
std::string shown_tier(const Row& row) {
  return row.needs_hook ? "needs a hook" : row.tier;
}

std::string draw_table(const std::vector<std::vector<std::string>>& lines) {
  std::vector<std::size_t> widths(lines.front().size(), 0);
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (std::size_t number = 0; number < lines.size(); ++number) {
    std::string line;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      std::string cell = lines[number][i];
      // Names to the left, figures to the right.
      const std::string space(widths[i] - cell.size(), ' ');
      line += (i == 0 ? "" : "  ") + (i < 2 ? cell + space : space + cell);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    if (number == 0) {
      std::size_t width = 2 * (widths.size() - 1);
      for (const std::size_t one : widths) width += one;
      text += std::string(width, '-') + "\n";
    }
  }
  return text;
}

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

std::string report_table(const Report& report) {
  std::vector<std::vector<std::string>> lines{{"probe", "tier"}};
  for (const Column& column : report.columns) lines.front().push_back(column.title);
  for (const Row& row : report.rows) {
    std::vector<std::string> line{row.name, shown_tier(row)};
    for (const ProbeFinding* cell : row.cells) line.push_back(cell_text(cell));
    lines.push_back(std::move(line));
  }
  return "Values repeated after the restore, of all drawn by the parent and " +
         std::to_string(report.clones) +
         " clones (in brackets: how long after the restore the last one was drawn); kernel " +
         report.kernel + ", " + report.vmm + "\n\n" + draw_table(lines);
}

std::string summary_line(const Report& report) {
  const auto probes =
      std::ranges::count_if(report.rows, [](const Row& row) { return !row.needs_hook; });
  return "clonesafe demo: " + std::to_string(report.clones) + " clones, " + std::to_string(probes) +
         " probes, " + std::to_string(report.duplicates_without) + " duplicated values without, " +
         std::to_string(report.duplicates_with) + " with; restore p50 " +
         milliseconds(report.restore_us.p50) + " ms, safe p50 " + milliseconds(report.safe_us.p50) +
         " ms";
}

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

void print_run(const AuditResult& result) {
  std::vector<std::vector<std::string>> lines{{"probe", "tier", "repeated", "in hand"}};
  for (const ProbeFinding& probe : result.probes) {
    lines.push_back(
        {probe.name, needs_hook(probe.name) ? "needs a hook" : probe.tier, cell_text(&probe),
         std::to_string(probe.in_hand_duplicates) + " of " + std::to_string(probe.in_hand)});
  }
  std::printf("%s: kernel %s, %s, %u clones\n\n%s\n", result.label.c_str(), result.kernel.c_str(),
              result.vmm.c_str(), result.clones, draw_table(lines).c_str());
}

}  // namespace clonesafe::audit
