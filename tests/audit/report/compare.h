// audit/report: puts the runs of one machine side by side: without clonesafe, with it, snapshot
// announced or not.
#ifndef CLONESAFE_TESTS_AUDIT_REPORT_COMPARE_H_
#define CLONESAFE_TESTS_AUDIT_REPORT_COMPARE_H_

#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "tests/audit/run/audit_run.h"

namespace clonesafe::audit {

struct CompareOptions {
  std::vector<std::filesystem::path>
      folders;                // of runs; one run at most for each mode and CPU mask
  std::filesystem::path out;  // report.json and report.html go here; empty: only the table
};

// What a cell of the report shows, for its colour.
enum class Verdict {
  plain,    // nothing was repeated, and nobody promised it
  held,     // nothing was repeated with clonesafe
  repeats,  // repeated without clonesafe: what it is there for
  window,   // repeated with clonesafe, where it promises nothing: measured, or needs a hook
  broken    // repeated though promised not to
};

// A column of the report.
struct Column {
  std::string title;  // "without", "unannounced, no rdrand,rdseed", ...
  const AuditResult* run = nullptr;
};

struct Row {
  std::string name;
  std::string tier;  // unannounced: word, lagging; none for what needs a hook
  bool needs_hook = false;
  std::vector<const ProbeFinding*> cells;  // one for each column; null if that run lacks the probe
};

struct Percentiles {
  std::optional<std::uint64_t> p50, p99;
};

struct Report {
  std::string kernel;
  std::string vmm;
  unsigned clones = 0;
  std::vector<Column> columns;
  std::vector<Row> rows;
  std::uint64_t duplicates_without =
      0;  // of the probes that need no hook, over the runs without clonesafe
  std::uint64_t duplicates_with = 0;  // the same, where clonesafe promises none
  // What a clone that nobody announced repeated before the agent or the kernel knew: no promise.
  std::uint64_t duplicates_in_window = 0;
  Percentiles restore_us, first_exit_us, safe_us;
  std::vector<std::string> failures;  // each broken promise, in words; empty: all held

  bool held() const { return failures.empty(); }
};

// How the table is shown: on a terminal it takes the width that there is, in colour unless the
// environment has NO_COLOR.
struct TableStyle {
  unsigned width = 0;  // 0: as wide as it gets
  bool colour = false;
};
TableStyle terminal_style();

// Keeps pointers to the runs.
Result<Report> make_report(const std::vector<AuditResult>& runs);
Verdict verdict(const AuditResult& run, const Row& row, const ProbeFinding& probe);
std::string report_table(const Report& report, const TableStyle& style = {});
std::string report_json(const Report& report);
std::string report_html(const Report& report);
// "clonesafe demo: K clones, P probes, D duplicated values without, 0 with; restore p50 X ms, safe
// p50 Y ms"
std::string summary_line(const Report& report);

// Prints the table and the summary, writes the files; true if every promise held.
Result<bool> compare_runs(const CompareOptions& options);
// What one run found, as a table.
void print_run(const AuditResult& result);

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_REPORT_COMPARE_H_
