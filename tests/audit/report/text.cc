// The report as a table for a terminal, and its last line.

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "tests/audit/report/compare.h"

namespace clonesafe::audit {
namespace {

struct Cell {
  std::string text;
  Verdict verdict = Verdict::plain;
};
using Line = std::vector<Cell>;

// How much a cell says; the first level that fits the terminal is taken.
enum class Detail { window, samples, figures };

std::string milliseconds(std::optional<std::uint64_t> us) {
  if (!us) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", static_cast<double>(*us) / 1000.0);
  return text;
}

std::string cell_text(const ProbeFinding* probe, Detail detail = Detail::window) {
  if (probe == nullptr) return "-";
  std::string text = std::to_string(probe->duplicates) +
                     (detail == Detail::figures ? "/" : " of ") + std::to_string(probe->samples);
  if (probe->window_us && detail == Detail::window)
    text += " (" + milliseconds(probe->window_us) + " ms)";
  return text;
}

// The word of the report's pages; report.json says it in a field of its own.
std::string shown_tier(const Row& row) {
  return row.needs_hook ? "needs a hook" : row.tier;
}

const char* colour_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::held:
      return "\033[32m";
    case Verdict::repeats:
      return "\033[31m";
    case Verdict::window:
      return "\033[33m";
    case Verdict::broken:
      return "\033[1;31m";
    case Verdict::plain:
      break;
  }
  return "";
}

std::vector<std::size_t> widths_of(const std::vector<Line>& lines) {
  std::vector<std::size_t> widths(lines.front().size(), 0);
  for (const Line& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i)
      widths[i] = std::max(widths[i], line[i].text.size());
  }
  return widths;
}

std::size_t total(const std::vector<std::size_t>& widths) {
  std::size_t sum = 2 * (widths.size() - 1);
  for (const std::size_t one : widths) sum += one;
  return sum;
}

// Names to the left, figures to the right; a rule under the first `head` lines.
std::string draw_table(const std::vector<Line>& lines, std::size_t head, bool colour) {
  const auto widths = widths_of(lines);
  std::string text;
  for (std::size_t number = 0; number < lines.size(); ++number) {
    if (number == head) text += std::string(total(widths), '-') + "\n";
    std::string line;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const Cell& cell = lines[number][i];
      const std::string space(widths[i] - cell.text.size(), ' ');
      const std::string paint = colour ? colour_of(cell.verdict) : "";
      const std::string shown = paint.empty() ? cell.text : paint + cell.text + "\033[0m";
      line += (i == 0 ? "" : "  ") + (i < 2 ? shown + space : space + shown);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

// What the processor hides in every run; nothing where the runs differ in it.
std::optional<std::string> common_mask(const Report& report) {
  const std::string& first = report.columns.front().run->cpu_mask;
  const bool all = std::ranges::all_of(
      report.columns, [&](const Column& column) { return column.run->cpu_mask == first; });
  return all ? std::optional(first) : std::nullopt;
}

// The modes, and under them what the processor hides, where runs differ in it.
std::vector<Line> head_of(const Report& report) {
  std::vector<Line> head{{{"probe"}, {"tier"}}};
  Line masks{{}, {}};
  for (const Column& column : report.columns) {
    head.front().push_back({column.run->mode});
    const std::string& mask = column.run->cpu_mask;
    masks.push_back({mask.empty() ? "" : "no " + mask});
  }
  if (!common_mask(report)) head.push_back(masks);
  return head;
}

std::vector<Line> lines_of(const Report& report, Detail detail) {
  std::vector<Line> lines = head_of(report);
  // What needs a hook stands apart, below.
  for (const bool hooks : {false, true}) {
    for (const Row& row : report.rows) {
      if (row.needs_hook != hooks) continue;
      Line line{{row.name}, {shown_tier(row)}};
      for (std::size_t i = 0; i < row.cells.size(); ++i) {
        const ProbeFinding* cell = row.cells[i];
        line.push_back(
            {cell_text(cell, detail),
             cell == nullptr ? Verdict::plain : verdict(*report.columns[i].run, row, *cell)});
      }
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

// What the summary's "with" does not count.
std::string window_line(const Report& report) {
  if (report.duplicates_in_window == 0) return "";
  return "Before they knew, unannounced clones repeated " +
         std::to_string(report.duplicates_in_window) + " values of programs without the library.\n";
}

}  // namespace

TableStyle terminal_style() {
  if (::isatty(STDOUT_FILENO) != 1) return {};
  // https://no-color.org: any value but an empty one.
  const char* no_color = std::getenv("NO_COLOR");  // NOLINT(concurrency-mt-unsafe): nothing sets it
  TableStyle style{.colour = no_color == nullptr || *no_color == '\0'};
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) style.width = size.ws_col;
  return style;
}

std::string report_table(const Report& report, const TableStyle& style) {
  const std::size_t head = head_of(report).size();
  std::vector<Line> lines;
  Detail shown = Detail::window;
  for (const Detail detail : {Detail::window, Detail::samples, Detail::figures}) {
    shown = detail;
    lines = lines_of(report, detail);
    if (style.width == 0 || total(widths_of(lines)) <= style.width) break;
  }
  const auto mask = common_mask(report);
  return "Values repeated after the restore, of all that the parent and " +
         std::to_string(report.clones) + " clones drew\n" +
         (shown == Detail::window
              ? "(in brackets: how long after the restore the last one was drawn)\n"
              : "") +
         window_line(report) + "Kernel " + report.kernel + ", " + report.vmm +
         (mask && !mask->empty() ? ", no " + *mask : "") + "\n\n" +
         draw_table(lines, head, style.colour);
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

void print_run(const AuditResult& result) {
  std::vector<Line> lines{{{"probe"}, {"tier"}, {"repeated"}, {"in hand"}}};
  for (const ProbeFinding& probe : result.probes) {
    lines.push_back(
        {{probe.name},
         {needs_hook(probe.name) ? "needs a hook" : probe.tier},
         {cell_text(&probe)},
         {std::to_string(probe.in_hand_duplicates) + " of " + std::to_string(probe.in_hand)}});
  }
  std::printf("%s: kernel %s, %s, %u clones\n\n%s\n", result.label.c_str(), result.kernel.c_str(),
              result.vmm.c_str(), result.clones, draw_table(lines, 1, false).c_str());
}

}  // namespace clonesafe::audit
