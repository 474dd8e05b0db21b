#include "vmm_device/cli/snapshot_line.h"

#include <boost/json.hpp>
#include <cstdio>

namespace clonesafe::cli {
namespace json = boost::json;

std::string snapshot_line(const json::object& reply) {
  const auto number = [&](const char* name) {
    const json::value* value = reply.if_contains(name);
    boost::system::error_code error;
    return value != nullptr && value->is_number() ? value->to_number<double>(error) : 0.0;
  };
  const auto text = [&](const char* name) {
    const json::value* value = reply.if_contains(name);
    return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
  };
  constexpr double kMiB = 1024.0 * 1024.0;
  char line[160];
  std::snprintf(line, sizeof line, ": %.1f MiB written of %.1f MiB of memory, in %.1f ms",
                number("written") / kMiB, number("memory") / kMiB, number("us") / 1000);
  std::string result = text("out") + line;
  if (reply.contains("pause_us")) {
    std::snprintf(line, sizeof line, "; the machine stood still for %.1f ms",
                  number("pause_us") / 1000);
    result += line;
  }
  if (reply.contains("reclaimed")) {
    std::snprintf(line, sizeof line, "; %.1f MiB of free memory reclaimed before it",
                  number("reclaimed") / kMiB);
    result += line;
    if (const std::string lacks = text("reclaim_lacks"); !lacks.empty())
      result += " (" + lacks + ")";
  }
  return result;
}

}  // namespace clonesafe::cli
