#include <boost/json.hpp>
#include <cstdio>
#include <string>

#include "vmm_device/cli/machines.h"
#include "vmm_device/cli/options.h"
#include "vmm_device/machine/api_server.h"

namespace clonesafe::cli {

namespace json = boost::json;
namespace {

// A machine that is stopped by a debugger must not stop this.
constexpr std::chrono::milliseconds kPatience{2000};

std::string text_of(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || value->is_null()) return "-";
  return value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
}

std::string safe_state(const json::object& status) {
  const json::value* safe = status.if_contains("safe");
  return safe != nullptr && safe->is_object() ? text_of(safe->get_object(), "state") : "-";
}

void print_line(const std::string& pid, const std::string& state, const std::string& kind,
                const std::string& safe, const std::string& socket) {
  std::printf("%8s  %-8s  %-6s  %-8s  %s\n", pid.c_str(), state.c_str(), kind.c_str(), safe.c_str(),
              socket.c_str());
}

void print(const std::filesystem::path& socket, const Result<json::object>& status, bool as_json) {
  if (as_json) {
    json::object line{{"api", socket.string()}};
    line["status"] = status ? json::value(*status) : json::value(nullptr);
    if (!status) line["error"] = status.error().message();
    std::printf("%s\n", json::serialize(line).c_str());
  } else if (status) {
    print_line(text_of(*status, "pid"), text_of(*status, "state"), text_of(*status, "kind"),
               safe_state(*status), socket.string());
  } else {
    print_line("-", "gone", "-", "-", socket.string());
  }
}

}  // namespace

int ps_command(const std::filesystem::path& folder, bool as_json) {
  const auto where = folder.empty() ? runtime_directory() : folder;
  std::error_code error;
  if (!std::filesystem::is_directory(where, error))
    return report(Error(where.string() + ": " + (error ? error.message() : "not a directory")));
  if (!as_json) print_line("PID", "STATE", "KIND", "SAFE", "SOCKET");
  for (const auto& socket : control_sockets(where))
    print(socket, call_api(socket, {{"call", "status"}}, {.timeout = kPatience}), as_json);
  return kExitDone;
}

}  // namespace clonesafe::cli
