#include "vmm_device/cli/snapshot_command.h"

#include <boost/json.hpp>
#include <cstdio>

#include "vmm_device/cli/options.h"
#include "vmm_device/cli/snapshot_line.h"
#include "vmm_device/machine/api_server.h"

namespace clonesafe::cli {
namespace json = boost::json;

int snapshot_command(const SnapshotOptions& options) {
  // The machine has a working directory of its own.
  std::error_code error;
  const auto out = std::filesystem::absolute(options.out, error);
  if (error) return report(Error(options.out.string() + ": " + error.message()));
  json::object request{{"call", "snapshot"},
                       {"out", out.lexically_normal().string()},
                       {"prepare", options.prepare},
                       {"then", options.stop ? "stop" : "resume"}};
  for (const auto& [member, path] :
       {std::pair("diff", options.diff), std::pair("key", options.key)}) {
    if (path.empty()) continue;
    const auto absolute = std::filesystem::absolute(path, error);
    if (error) return report(Error(path.string() + ": " + error.message()));
    request[member] = absolute.lexically_normal().string();
  }
  const auto reply = call_api(options.api, request);
  if (!reply) return report(reply.error());
  if (options.json)
    std::printf("%s\n", json::serialize(*reply).c_str());
  else
    std::printf("%s\n", snapshot_line(*reply).c_str());
  return kExitDone;
}

int simple_call_command(const std::filesystem::path& api, const std::string& call) {
  const auto reply = call_api(api, {{"call", call}});
  if (!reply) return report(reply.error());
  if (call == "status") std::printf("%s\n", json::serialize(*reply).c_str());
  return kExitDone;
}

}  // namespace clonesafe::cli
