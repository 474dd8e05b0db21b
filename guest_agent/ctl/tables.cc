#include "guest_agent/ctl/tables.h"

#include <fmt/core.h>

#include <boost/json.hpp>

#include "libclonesafe/base/printable.h"

namespace clonesafe::ctl {
namespace {

namespace json = boost::json;

// Text for a terminal: the agent quotes the host and the kernel.
std::string shown(const json::value& value) {
  if (value.is_string()) return printable(std::string_view(value.get_string()));
  if (value.is_bool()) return value.get_bool() ? "yes" : "no";
  if (value.is_null()) return "-";
  return printable(json::serialize(value));
}

std::string field(const json::object& object, const char* name) {
  const json::value* const value = object.if_contains(name);
  return value == nullptr ? "-" : shown(*value);
}

std::string painted(const std::string& text, const char* code, bool color) {
  return color ? fmt::format("\033[{}m{}\033[0m", code, text) : text;
}

const char* color_of(const std::string& word) {
  if (word == "safe" || word == "ok" || word == "word") return "32";
  if (word == "degraded" || word == "failed" || word == "none" || word == "unknown") return "31";
  return "33";
}

void add_lines(const json::object& object, const char* name, std::string& text,
               const std::function<std::string(const json::object&)>& line) {
  const json::value* const list = object.if_contains(name);
  if (list == nullptr || !list->is_array()) return;
  for (const json::value& element : list->get_array()) {
    if (element.is_object()) text += line(element.get_object());
  }
}

std::string sources_table(const json::object& status) {
  std::string text;
  add_lines(status, "sources", text, [](const json::object& source) {
    return fmt::format("  {:<16} {:<8} {:<6} {}\n", field(source, "name"),
                       is_true(source, "present") ? "present" : "absent",
                       is_true(source, "wakes") ? "wakes" : "", field(source, "detail"));
  });
  return text.empty() ? text : "sources\n" + text;
}

std::string results_table(const json::object& object, const char* name, bool color) {
  std::string text;
  add_lines(object, name, text, [color](const json::object& result) {
    const std::string outcome = field(result, "result");
    return fmt::format("  {:<16} {}{} {:>7} us  {}\n", field(result, "name"),
                       painted(outcome, color_of(outcome), color),
                       std::string(8 - std::min<std::size_t>(outcome.size(), 8), ' '),
                       field(result, "us"), field(result, "detail"));
  });
  return text;
}

}  // namespace

bool is_true(const json::object& object, const char* name) {
  const json::value* const value = object.if_contains(name);
  return value != nullptr && value->is_bool() && value->get_bool();
}

std::string status_table(const json::object& status, bool color) {
  const std::string state = field(status, "state");
  const std::string tier = field(status, "tier");
  std::string text =
      fmt::format("state            {}\ntier             {}\n",
                  painted(state, color_of(state), color), painted(tier, color_of(tier), color));
  for (const auto& [label, name] : {std::pair{"generation", "generation"},
                                    {"reseed epoch", "reseed_epoch"},
                                    {"restore id", "restore_id"},
                                    {"last restore", "kind"},
                                    {"decided by", "decided_by"},
                                    {"woken by", "woken_by"},
                                    {"repair us", "repair_us"},
                                    {"restores seen", "restores"},
                                    {"agent", "agent"},
                                    {"kernel", "kernel"}}) {
    if (status.if_contains(name) != nullptr) {
      text += fmt::format("{:<16} {}\n", label, field(status, name));
    }
  }
  if (const json::value* const host = status.if_contains("host"); host && host->is_object()) {
    const bool connected = is_true(host->get_object(), "connected");
    text += fmt::format("{:<16} {}\n", "host",
                        connected ? field(host->get_object(), "name") : "not connected");
  }
  if (const json::value* const page = status.if_contains("page"); page && page->is_object()) {
    text +=
        fmt::format("{:<16} {}{}{}\n", "page", field(page->get_object(), "path"),
                    is_true(page->get_object(), "pinned") ? ", pinned" : "",
                    is_true(page->get_object(), "registered") ? ", registered with the host" : "");
  }
  if (const json::value* const secrets = status.if_contains("secrets");
      secrets && secrets->is_object()) {
    const json::object& object = secrets->get_object();
    const std::string error = field(object, "error");
    text += fmt::format("{:<16} {}{}{}\n", "secret pages", field(object, "pages"),
                        is_true(object, "host_covers") ? "" : ", the host covers none",
                        error.empty() ? "" : ", " + error);
  }
  const std::string repairs = results_table(status, "repairs", color);
  if (!repairs.empty()) text += "repairs\n" + repairs;
  return text + sources_table(status);
}

std::string steps_table(const json::object& prepared, bool color) {
  return results_table(prepared, "steps", color);
}

std::string hooks_table(const json::object& hooks, bool color) {
  std::string text = "folder           " + field(hooks, "folder") + "\n";
  for (const auto& [label, name] :
       {std::pair{"before-snapshot", "before_snapshot"}, {"after-restore", "after_restore"}}) {
    text += std::string(label) + "\n";
    add_lines(hooks, name, text, [color](const json::object& hook) {
      const std::string refused = field(hook, "refused");
      return fmt::format("  {:<16} {}\n", field(hook, "name"),
                         refused.empty() ? "" : painted("refused: it " + refused, "31", color));
    });
  }
  text += "watchers\n";
  add_lines(hooks, "watchers", text, [](const json::object& watcher) {
    return fmt::format("  {:<16} {}\n", field(watcher, "name"),
                       is_true(watcher, "tracked") ? "tracked" : "");
  });
  return text;
}

std::string event_line(const json::object& event, bool color) {
  const std::string what = field(event, "event");
  if (what == "state") {
    const std::string state = field(event, "state");
    return fmt::format("{:<16} {}\n", what, painted(state, color_of(state), color));
  }
  return fmt::format("{:<16} {} generation {} restore id {}\n", what, field(event, "cause"),
                     field(event, "generation"), field(event, "restore_id"));
}

namespace {

struct Mark {
  const char* word;
  const char* color;
};
Mark mark_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kGood:
      return {"good", "32"};
    case Verdict::kWeak:
      return {"weak", "33"};
    case Verdict::kBad:
      return {"bad", "31"};
  }
  return {"bad", "31"};
}

}  // namespace

std::string doctor_table(const json::object& status, const std::vector<Finding>& findings,
                         bool color) {
  std::string text = sources_table(status);
  if (!text.empty()) text += "\n";
  for (const Finding& finding : findings) {
    const Mark mark = mark_of(finding.verdict);
    text += fmt::format("{}  {}\n", painted(mark.word, mark.color, color),
                        shown(json::string(finding.what)));
    if (!finding.advice.empty()) text += fmt::format("      -> {}\n", finding.advice);
  }
  return text;
}

std::string doctor_json(const json::object& status, const std::vector<Finding>& findings) {
  json::array list;
  for (const Finding& finding : findings) {
    list.push_back({{"verdict", mark_of(finding.verdict).word},
                    {"what", finding.what},
                    {"advice", finding.advice}});
  }
  return json::serialize(json::object({{"findings", std::move(list)}, {"status", status}}));
}

}  // namespace clonesafe::ctl
