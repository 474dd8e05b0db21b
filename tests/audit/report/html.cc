// report.html: one self-contained page.

#include <cstdio>

#include "tests/audit/report/compare.h"

namespace clonesafe::audit {
namespace {

constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>clonesafe: what clones repeat</title><style>
:root{--ink:#1b2430;--soft:#5d6b7c;--line:#dfe5ec;--paper:#fff;--ground:#f4f6f9;--good:#0b7a4b;--good-bg:#e3f5ec;--bad:#b3261e;--bad-bg:#fdeceb;--warn:#8a5a00;--warn-bg:#fdf3dc}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf2;--soft:#98a6b8;--line:#2c3644;--paper:#171d26;--ground:#10151c;--good:#5fd6a0;--good-bg:#123325;--bad:#ff8f87;--bad-bg:#3d1a18;--warn:#f0c263;--warn-bg:#382b10}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.55 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:40px 24px 64px}h1{font-size:30px;line-height:1.2;margin:0 0 6px}h2{font-size:19px;margin:40px 0 10px}
p{margin:8px 0;max-width:80ch}.soft{color:var(--soft)}.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:14px;margin:26px 0}
.card{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:16px 18px}.card b{display:block;font-size:28px;line-height:1.2;font-variant-numeric:tabular-nums}
.card.good b{color:var(--good)}.card.bad b{color:var(--bad)}.wrap{overflow-x:auto;background:var(--paper);border:1px solid var(--line);border-radius:12px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:9px 14px;text-align:right;border-top:1px solid var(--line);white-space:nowrap}
tr:first-child th{border-top:0;font-weight:600;color:var(--soft);font-size:13px;white-space:normal;vertical-align:bottom}th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}
td:first-child{font-family:ui-monospace,monospace;font-size:13.5px}.n{display:inline-block;min-width:3.2em;padding:1px 9px;border-radius:9px;font-weight:600;text-align:center}
.n.good{color:var(--good);background:var(--good-bg)}.n.bad{color:var(--bad);background:var(--bad-bg)}.n.warn{color:var(--warn);background:var(--warn-bg)}
td small{display:block;color:var(--soft);font-size:12px}ul{padding-left:20px}li{margin:4px 0}.hook td{opacity:.82}
</style></head><body><main>
)";

std::string escape(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

std::string milliseconds(std::optional<std::uint64_t> us) {
  if (!us) return "&ndash;";
  char text[32];
  std::snprintf(text, sizeof text, "%.2f ms", static_cast<double>(*us) / 1000.0);
  return text;
}

std::string card(const std::string& kind, const std::string& figure, const std::string& text) {
  return "<div class=\"card " + kind + "\"><b>" + figure + "</b>" + text + "</div>\n";
}

std::string cell(const AuditResult& run, const Row& row, const ProbeFinding* probe) {
  if (probe == nullptr) return "<td>&ndash;</td>";
  const bool promised = !row.needs_hook && run.mode != "without" &&
                        (run.mode == "announced" || probe->tier == "word");
  // Green is only what was promised and held; a zero that nobody promised is plain.
  const char* kind = probe->duplicates > 0 ? (run.mode == "without" || promised ? "bad" : "warn")
                                           : (promised || run.mode != "without" ? "good" : "");
  std::string text = "<td><span class=\"n " + std::string(kind) + "\">" +
                     std::to_string(probe->duplicates) + "</span><small>of " +
                     std::to_string(probe->samples);
  if (probe->window_us && run.mode != "without")
    text += ", until " + milliseconds(probe->window_us);
  return text + "</small></td>";
}

}  // namespace

std::string report_html(const Report& report) {
  std::string page = kHead;
  page += "<h1>What clones repeat</h1>\n<p class=\"soft\">" + std::to_string(report.clones) +
          " clones and their parent, Debian kernel " + escape(report.kernel) + ", " +
          escape(report.vmm) +
          ". Ordinary programs draw numbered values without pause while their machine is "
          "snapshotted and cloned; every value "
          "from the first instruction after the restore on is compared with those of all other "
          "machines.</p>\n";
  page += "<div class=\"cards\">\n";
  page +=
      card("bad", std::to_string(report.duplicates_without), "values repeated without clonesafe");
  page += card(report.duplicates_with == 0 ? "good" : "bad", std::to_string(report.duplicates_with),
               "where clonesafe promises none");
  page += card("", milliseconds(report.restore_us.p50),
               "restore, p50 (p99 " + milliseconds(report.restore_us.p99) + ")");
  page += card("", milliseconds(report.safe_us.p50),
               "first run to safe, p50 (p99 " + milliseconds(report.safe_us.p99) + ")");
  page += card(report.held() ? "good" : "bad", report.held() ? "held" : "not held",
               "what clonesafe promises");
  page += "</div>\n";
  if (!report.held()) {
    page += "<h2>Not held</h2>\n<ul>\n";
    for (const std::string& failure : report.failures) page += "<li>" + escape(failure) + "</li>\n";
    page += "</ul>\n";
  }
  page +=
      "<h2>Repeated values by source</h2>\n<div "
      "class=\"wrap\"><table>\n<tr><th>probe</th><th>tier</th>";
  for (const Column& column : report.columns) page += "<th>" + escape(column.title) + "</th>";
  page += "</tr>\n";
  for (const bool hooks : {false, true}) {
    for (const Row& row : report.rows) {
      if (row.needs_hook != hooks) continue;
      page += std::string("<tr") + (hooks ? " class=\"hook\"" : "") + "><td>" + escape(row.name) +
              "</td><td>" + escape(row.needs_hook ? "needs a hook" : row.tier) + "</td>";
      for (std::size_t i = 0; i < report.columns.size(); ++i) {
        page += cell(*report.columns[i].run, row, row.cells[i]);
      }
      page += "</tr>\n";
    }
  }
  page += R"(</table></div>
<h2>How to read it</h2>
<ul>
<li><b>without</b>: no generation device, no agent. <b>unannounced</b>: both, and the snapshot came at a random moment under load.
<b>announced</b>: the agent froze the workload before the snapshot, and repaired before it let it go on.</li>
<li><b>tier</b> says how early a source knows of the restore. <i>word</i>: before its first instruction. <i>lagging</i>: once the
agent has repaired the kernel; unannounced, such a program may repeat values until then, and the time of the last one is given.</li>
<li><b>needs a hook</b>: the program keeps a generator's state of its own that nothing outside can reach. It is shown, not counted.</li>
<li>A value that was drawn but not yet stored when the machine stopped (<i>in hand</i>) is counted apart, in report.json.</li>
</ul>
</main></body></html>)";
  return page;
}

}  // namespace clonesafe::audit
