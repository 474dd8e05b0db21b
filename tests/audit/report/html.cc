// report.html: one self-contained page.

#include <cctype>
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
td small{color:var(--soft);font-size:12px;margin-left:7px}ul{padding-left:20px}li{margin:4px 0}
.group td{font:600 12px/1.4 system-ui,sans-serif;letter-spacing:.04em;text-transform:uppercase;color:var(--soft);background:var(--ground);padding:8px 14px}
td em{display:block;font:12.5px/1.4 system-ui,sans-serif;color:var(--soft)}th small{display:block;font-weight:400}
.tier{font-size:12.5px;border:1px solid var(--line);border-radius:7px;padding:1px 8px;color:var(--soft)}
.verdict{border-radius:12px;padding:14px 18px;font-weight:600;margin:22px 0 0;max-width:none}.verdict.good{color:var(--good);background:var(--good-bg)}.verdict.bad{color:var(--bad);background:var(--bad-bg)}
</style></head><body><main>
)";

constexpr const char* kFoot = R"(</table></div>
<h2>How to read it</h2>
<ul>
<li><b>without</b>: no generation device, no agent. <b>unannounced</b>: both, and the snapshot came at a random moment under load.
<b>announced</b>: the agent froze the workload before the snapshot, and repaired the machine before it let it go on.</li>
<li><b>Tier</b> says how early a source knows of the restore. <i>word</i>: before its first instruction. <i>lagging</i>: once the
agent has repaired the kernel; with an unannounced snapshot such a program may repeat values until then, and the time of the last one
is given.</li>
<li><b>Needs a hook</b>: the program keeps a generator&rsquo;s state that nothing outside can reach.</li>
<li>A value that was drawn but not yet stored when the machine stopped (<i>in hand</i>) is counted apart, in each run&rsquo;s result.json.</li>
</ul>
</main></body></html>)";

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

std::string duration(std::optional<std::uint64_t> us) {
  if (!us) return "&ndash;";
  const double ms = static_cast<double>(*us) / 1000.0;
  char text[32];
  if (ms >= 1000) {
    std::snprintf(text, sizeof text, "%.2f s", ms / 1000);
  } else {
    std::snprintf(text, sizeof text, ms >= 10 ? "%.0f ms" : "%.2f ms", ms);
  }
  return text;
}

std::string card(const std::string& kind, const std::string& figure, const std::string& text) {
  return "<div class=\"card " + kind + "\"><b>" + figure + "</b>" + text + "</div>\n";
}

const char* class_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::held:
      return "good";
    case Verdict::repeats:
    case Verdict::broken:
      return "bad";
    case Verdict::window:
      return "warn";
    case Verdict::plain:
      break;
  }
  return "";
}

std::string cell(const AuditResult& run, const Row& row, const ProbeFinding* probe) {
  if (probe == nullptr) return "<td>&ndash;</td>";
  std::string text = "<td><span class=\"n " + std::string(class_of(verdict(run, row, *probe))) +
                     "\">" + std::to_string(probe->duplicates) + "</span><small>of " +
                     std::to_string(probe->samples);
  if (probe->window_us) text += ", until " + duration(probe->window_us);
  return text + "</small></td>";
}

std::string column_head(const AuditResult& run) {
  const char* mode = run.mode == "without"       ? "without clonesafe"
                     : run.mode == "unannounced" ? "with clonesafe, unannounced"
                                                 : "with clonesafe, announced";
  std::string mask = run.cpu_mask;
  for (char& c : mask) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (const auto comma = mask.find(','); comma != std::string::npos) mask.replace(comma, 1, ", ");
  return std::string("<th>") + mode + "<small>" +
         (mask.empty() ? "processor as it is" : escape(mask) + " hidden") + "</small></th>";
}

// What a probe's name stands for, and the part of the table it belongs to.
struct Source {
  const char* name;
  const char* text;
};
constexpr Source kSources[] = {
    {"clonesafe.random", "cs_random"},
    {"clonesafe.uuid4", "cs_uuid4"},
    {"cxx.boost_uuid", "boost::uuids::random_generator"},
    {"cxx.getrandom", "getrandom(2)"},
    {"cxx.libuuid", "uuid_generate_random"},
    {"cxx.mt19937", "std::mt19937, seeded at its start"},
    {"cxx.openssl_rand", "RAND_bytes, in one process"},
    {"cxx.proc_uuid", "/proc/sys/kernel/random/uuid"},
    {"identity.boot-id", "/proc/sys/kernel/random/boot_id"},
    {"identity.hostname", "hostname"},
    {"identity.machine-id", "/etc/machine-id"},
    {"identity.uuid", "a UUID of the kernel's, at collection"},
    {"openssl.rand", "openssl rand, a process for each"},
    {"python.random", "random.getrandbits"},
    {"python.secrets", "secrets.token_bytes"},
    {"python.ssl", "ssl.RAND_bytes"},
    {"python.uuid4", "uuid.uuid4"},
};

std::string described(const std::string& name) {
  for (const Source& source : kSources) {
    if (name == source.name) return escape(name) + "<em>" + escape(source.text) + "</em>";
  }
  return escape(name);
}

enum class Group { library, kernel, identity, hook };

Group group_of(const Row& row) {
  if (row.needs_hook) return Group::hook;
  if (row.name.starts_with("identity.")) return Group::identity;
  return row.name.starts_with("clonesafe.") ? Group::library : Group::kernel;
}

const char* title_of(Group group) {
  switch (group) {
    case Group::library:
      return "libclonesafe";
    case Group::kernel:
      return "Programs that ask the kernel for each value";
    case Group::identity:
      return "The machine's identity";
    case Group::hook:
      break;
  }
  return "Generators in a program's own memory: shown, not counted, until they have a hook";
}

std::string rows_of(const Report& report, Group group) {
  std::string rows;
  for (const Row& row : report.rows) {
    if (group_of(row) != group) continue;
    rows += "<tr><td>" + described(row.name) + "</td><td><span class=\"tier\">" +
            escape(row.needs_hook ? "needs a hook" : row.tier) + "</span></td>";
    for (std::size_t i = 0; i < report.columns.size(); ++i) {
      rows += cell(*report.columns[i].run, row, row.cells[i]);
    }
    rows += "</tr>\n";
  }
  if (rows.empty()) return rows;
  return "<tr class=\"group\"><td colspan=\"" + std::to_string(report.columns.size() + 2) + "\">" +
         title_of(group) + "</td></tr>\n" + rows;
}

std::string cards(const Report& report) {
  const std::string with = std::to_string(report.duplicates_with);
  return "<div class=\"cards\">\n" +
         card("bad", std::to_string(report.duplicates_without),
              "values repeated without clonesafe") +
         card(report.duplicates_with == 0 ? "good" : "bad", with,
              "repeated where clonesafe promises none") +
         (report.duplicates_in_window == 0
              ? ""
              : card("", std::to_string(report.duplicates_in_window),
                     "repeated by unannounced clones before they knew")) +
         card("", duration(report.restore_us.p50),
              "to restore a clone, p50 (p99 " + duration(report.restore_us.p99) + ")") +
         card(
             "", duration(report.safe_us.p50),
             "from its first instruction to safe, p50 (p99 " + duration(report.safe_us.p99) + ")") +
         "</div>\n";
}

}  // namespace

std::string report_html(const Report& report) {
  std::string page = kHead;
  page += "<h1>What clones repeat</h1>\n<p class=\"soft\">A machine with Debian&rsquo;s kernel " +
          escape(report.kernel) + ", run by " + escape(report.vmm) +
          ", was snapshotted under load and restored to " + std::to_string(report.clones) +
          " clones, while ordinary programs drew numbered values without pause. Every value that "
          "the clones and their parent drew, from the first instruction after the restore on, is "
          "compared with all others.</p>\n";
  page += report.held()
              ? "<p class=\"verdict good\">Everything that clonesafe promises held.</p>\n"
              : "<p class=\"verdict bad\">Not everything that was to be shown held:</p>\n";
  if (!report.held()) {
    page += "<ul>\n";
    for (const std::string& failure : report.failures) page += "<li>" + escape(failure) + "</li>\n";
    page += "</ul>\n";
  }
  page += cards(report);
  page +=
      "<h2>Repeated values by source</h2>\n<div class=\"wrap\"><table>\n"
      "<tr><th>source</th><th>tier</th>";
  for (const Column& column : report.columns) page += column_head(*column.run);
  page += "</tr>\n";
  for (const Group group : {Group::library, Group::kernel, Group::identity, Group::hook}) {
    page += rows_of(report, group);
  }
  page += kFoot;
  return page;
}

}  // namespace clonesafe::audit
