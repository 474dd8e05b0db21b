#include "tests/audit/report/compare.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <set>

namespace clonesafe::audit {
namespace {

Percentiles percentiles(std::vector<std::uint64_t> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const auto at = [&](std::size_t percent) {
    // Nearest rank: the smallest value that `percent` of all don't exceed.
    return values[std::max<std::size_t>((values.size() * percent + 99) / 100, 1) - 1];
  };
  return {at(50), at(99)};
}

const ProbeFinding* find_probe(const AuditResult& run, const std::string& name) {
  const auto found = std::ranges::find(run.probes, name, &ProbeFinding::name);
  return found == run.probes.end() ? nullptr : &*found;
}

// What clonesafe promises of a probe in a run; the tier is the one that the probe's source claimed
// there.
bool promised(const AuditResult& run, const ProbeFinding& probe) {
  if (run.mode == "without" || needs_hook(probe.name)) return false;
  return run.mode == "announced" || probe.tier == "word";
}

std::string row_tier(const std::vector<Column>& columns, const Row& row) {
  if (row.needs_hook) return "none";
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].run->mode == "unannounced" && row.cells[i] != nullptr &&
        !row.cells[i]->tier.empty()) {
      return row.cells[i]->tier;
    }
  }
  // A program that doesn't ask for its tier depends on what the agent repairs after it woke.
  return "lagging";
}

void judge(const AuditResult& run, const std::string& title, Report& report) {
  std::uint64_t duplicates = 0;
  for (const ProbeFinding& probe : run.probes) {
    if (needs_hook(probe.name)) continue;
    duplicates += probe.duplicates;
    if (!promised(run, probe)) {
      if (run.mode != "without") report.duplicates_in_window += probe.duplicates;
      continue;
    }
    report.duplicates_with += probe.duplicates;
    if (probe.duplicates > 0) {
      report.failures.push_back(title + ": " + probe.name + " repeated " +
                                std::to_string(probe.duplicates) + " values");
    }
  }
  if (run.mode != "without") return;
  report.duplicates_without += duplicates;
  if (duplicates == 0)
    report.failures.push_back(title + ": nothing was repeated, so the run proves nothing");
}

}  // namespace

Verdict verdict(const AuditResult& run, const Row& row, const ProbeFinding& probe) {
  if (run.mode == "without") return probe.duplicates > 0 ? Verdict::repeats : Verdict::plain;
  if (probe.duplicates == 0) return row.needs_hook ? Verdict::plain : Verdict::held;
  return promised(run, probe) ? Verdict::broken : Verdict::window;
}

Result<Report> make_report(const std::vector<AuditResult>& runs) {
  if (runs.empty()) return fail("no runs to compare");
  Report report{
      .kernel = runs.front().kernel, .vmm = runs.front().vmm, .clones = runs.front().clones};
  std::vector<const AuditResult*> ordered;
  for (const AuditResult& run : runs) {
    if (run.kernel != report.kernel || run.vmm != report.vmm) {
      return fail("run " + run.label + " is of another kernel or VMM than run " +
                  runs.front().label);
    }
    ordered.push_back(&run);
  }
  // Unmasked runs first, then by mode; modes sort by how much clonesafe does.
  const auto key = [](const AuditResult* run) {
    const auto mode = parse_mode(run->mode);
    return std::tuple(run->cpu_mask, mode ? static_cast<int>(*mode) : 9, run->label);
  };
  std::ranges::sort(ordered, {}, key);
  std::set<std::string> names;
  for (const AuditResult* run : ordered) {
    const std::string title = run->mode + (run->cpu_mask.empty() ? "" : ", no " + run->cpu_mask);
    for (const Column& column : report.columns) {
      if (column.title == title) return fail("two runs are \"" + title + "\"");
    }
    report.columns.push_back({title, run});
    for (const ProbeFinding& probe : run->probes) names.insert(probe.name);
    judge(*run, title, report);
  }
  for (const std::string& name : names) {
    Row row{.name = name, .tier = {}, .needs_hook = needs_hook(name), .cells = {}};
    for (const Column& column : report.columns) row.cells.push_back(find_probe(*column.run, name));
    row.tier = row_tier(report.columns, row);
    report.rows.push_back(std::move(row));
  }
  std::vector<std::uint64_t> restore, first_exit, safe;
  for (const AuditResult* run : ordered) {
    if (run->mode == "without") continue;
    for (const RestoreTimes& times : run->restores) {
      if (times.restore_us) restore.push_back(*times.restore_us);
      if (times.first_exit_us) first_exit.push_back(*times.first_exit_us);
      if (times.safe_us) safe.push_back(*times.safe_us);
    }
  }
  report.restore_us = percentiles(restore);
  report.first_exit_us = percentiles(first_exit);
  report.safe_us = percentiles(safe);
  return report;
}

Result<bool> compare_runs(const CompareOptions& options) {
  std::vector<AuditResult> runs;
  for (const auto& folder : options.folders) {
    auto run = load_result(folder);
    if (!run) return fail(run.error());
    runs.push_back(*std::move(run));
  }
  const auto report = make_report(runs);
  if (!report) return fail(report.error());
  if (!options.out.empty()) {
    std::error_code error;
    std::filesystem::create_directories(options.out, error);
    for (const auto& [name, text] : {std::pair("report.json", report_json(*report)),
                                     std::pair("report.html", report_html(*report))}) {
      std::ofstream file(options.out / name);
      file << text << "\n";
      file.close();
      if (!file) return fail_errno("writing " + (options.out / name).string());
    }
  }
  std::printf("%s\n", report_table(*report, terminal_style()).c_str());
  for (const std::string& failure : report->failures)
    std::printf("NOT HELD: %s\n", failure.c_str());
  std::printf("%s\n", summary_line(*report).c_str());
  return report->held();
}

}  // namespace clonesafe::audit
