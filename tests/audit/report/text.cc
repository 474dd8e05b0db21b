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

json::value figures(const ProbeFinding* probe, bool window) {
  if (probe == nullptr) return nullptr;
  json::object object{{"duplicates", probe->duplicates},
                      {"samples", probe->samples},
                      {"in_hand", probe->in_hand},
                      {"in_hand_duplicates", probe->in_hand_duplicates}};
  if (window)
    object["window_us"] = probe->window_us ? json::value(*probe->window_us) : json::value(nullptr);
  return object;
}

json::value percentiles_json(const Percentiles& times) {
  const auto value = [](std::optional<std::uint64_t> us) {
    return us ? json::value(*us) : json::value(nullptr);
  };
  return {{"p50", value(times.p50)}, {"p99", value(times.p99)}};
}

// The cells of one CPU mask by the names that report.json has for the modes.
json::object modes_json(const Report& report, const Row& row, const std::string& cpu_mask) {
  json::object object{{"without", nullptr}, {"with", nullptr}, {"unannounced", nullptr}};
  for (std::size_t i = 0; i < report.columns.size(); ++i) {
    const AuditResult& run = *report.columns[i].run;
    if (run.cpu_mask != cpu_mask) continue;
    object[run.mode == "announced" ? "with" : run.mode] =
        figures(row.cells[i], run.mode == "unannounced");
  }
  return object;
}

}  // namespace

std::string report_table(const Report& report) {
  std::vector<std::vector<std::string>> lines{{"probe", "tier"}};
  for (const Column& column : report.columns) lines.front().push_back(column.title);
  for (const Row& row : report.rows) {
    std::vector<std::string> line{row.name, row.tier};
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
  std::set<std::string> masks;
  for (const Column& column : report.columns) {
    if (!column.run->cpu_mask.empty()) masks.insert(column.run->cpu_mask);
  }
  json::array probes;
  for (const Row& row : report.rows) {
    json::object probe{{"name", row.name}, {"tier", row.tier}, {"needs_hook", row.needs_hook}};
    for (auto& [mode, value] : modes_json(report, row, "")) probe[mode] = value;
    json::object masked;
    for (const std::string& mask : masks) masked[mask] = modes_json(report, row, mask);
    probe["masked"] = std::move(masked);
    probes.push_back(std::move(probe));
  }
  json::array failures;
  for (const std::string& failure : report.failures) failures.push_back(json::value(failure));
  return json::serialize(json::object{{"kernel", report.kernel},
                                      {"vmm", report.vmm},
                                      {"clones", report.clones},
                                      {"held", report.held()},
                                      {"failures", std::move(failures)},
                                      {"duplicates_without", report.duplicates_without},
                                      {"duplicates_with", report.duplicates_with},
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
