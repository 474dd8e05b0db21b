#include "proxy/ctl/tables.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <vector>

#include "libclonesafe/base/printable.h"

namespace clonesafe::proxy {
namespace {

namespace json = boost::json;

using Row = std::vector<std::string>;

// Columns as wide as what is in them, two spaces apart.
std::string table(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

// A member as people write it; a proxy of another version may not have it. Names in it are a peer's
// or a configuration's.
std::string text_of(const json::object& object, std::string_view name) {
  const json::value* const value = object.if_contains(json::string_view(name.data(), name.size()));
  if (value == nullptr || value->is_null()) return "-";
  if (value->is_string()) {
    const std::string text(value->get_string());
    return text.empty() ? "-" : printable(text);
  }
  if (value->is_bool()) return value->get_bool() ? "yes" : "no";
  if (const json::array* const array = value->if_array()) {
    std::string text;
    for (const json::value& element : *array) {
      if (element.is_string())
        text += (text.empty() ? "" : ",") + std::string(element.get_string());
    }
    return text.empty() ? "-" : printable(text);
  }
  return printable(json::serialize(*value));
}

std::uint64_t number_of(const json::object& object, std::string_view name) {
  const json::value* const value = object.if_contains(json::string_view(name.data(), name.size()));
  boost::system::error_code error;
  const auto number = value == nullptr ? 0 : value->to_number<std::uint64_t>(error);
  return error ? 0 : number;
}

std::vector<const json::object*> objects_in(const json::object& answer, std::string_view name) {
  std::vector<const json::object*> objects;
  const json::value* const list = answer.if_contains(json::string_view(name.data(), name.size()));
  if (list == nullptr || !list->is_array()) return objects;
  for (const json::value& element : list->get_array()) {
    if (const json::object* const object = element.if_object()) objects.push_back(object);
  }
  return objects;
}

}  // namespace

std::string status_table(const json::object& answer) {
  std::vector<Row> rows;
  for (const char* name :
       {"proxy", "services", "threads", "sessions", "paused", "parked", "draining", "tombstones",
        "stale_segments_dropped", "reloads", "tier", "agent"})
    rows.push_back({name, text_of(answer, name)});
  return table(rows);
}

std::string sessions_table(const json::object& answer) {
  std::vector<Row> rows = {
      {"SERVICE", "FROM", "UPSTREAM", "AGE", "FROM-APPLICATION", "TO-APPLICATION"}};
  for (const json::object* session : objects_in(answer, "sessions")) {
    rows.push_back(
        {text_of(*session, "service"), text_of(*session, "from"), text_of(*session, "upstream"),
         fmt::format("{:.1f} s", static_cast<double>(number_of(*session, "age_ms")) / 1e3),
         text_of(*session, "from_application"), text_of(*session, "to_application")});
  }
  std::string text = table(rows);
  if (const auto more = number_of(answer, "left_off"); more != 0)
    text += fmt::format("and {} more\n", more);
  return text;
}

std::string upstreams_table(const json::object& answer) {
  std::vector<Row> rows = {{"SERVICE", "ADDRESS", "TLS", "SESSIONS", "CONNECTIONS", "CONNECTS",
                            "FAILED", "MEAN", "FENCED", "REOPENED", "BREAKER", "DOWN"}};
  for (const json::object* one : objects_in(answer, "upstreams")) {
    rows.push_back(
        {text_of(*one, "service"), text_of(*one, "address"), text_of(*one, "tls"),
         text_of(*one, "sessions"), text_of(*one, "connections"), text_of(*one, "connects"),
         text_of(*one, "failed_connects"),
         fmt::format("{:.1f} ms", static_cast<double>(number_of(*one, "connect_us_mean")) / 1e3),
         text_of(*one, "fenced"), text_of(*one, "reopened"),
         number_of(*one, "breakers_open") != 0 ? "open" : "closed", text_of(*one, "down")});
  }
  return table(rows);
}

}  // namespace clonesafe::proxy
