#include "vmm_device/cli/snapshot_command.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdio>
#include <functional>
#include <memory>

#include "vmm_device/cli/options.h"
#include "vmm_device/cli/snapshot_line.h"
#include "vmm_device/machine/api_server.h"
#include "vmm_device/snapshot/key.h"
#include "vmm_device/snapshot/snapshot.h"
#include "vmm_device/supervisor/terminal.h"
#include "vmm_device/supervisor/text.h"

namespace clonesafe::cli {
namespace json = boost::json;

namespace {

// Shows on a terminal how far the machine is, which it tells anyone who asks. Empty: no terminal.
std::function<void()> progress_of(const std::filesystem::path& api) {
  if (::isatty(STDERR_FILENO) == 0) return {};
  auto terminal = std::make_shared<supervisor::Terminal>(stdout, stderr);
  return [terminal, api] {
    const auto status = call_api(api, {{"call", "status"}});
    const json::value* snapshot = status ? status->if_contains("snapshot") : nullptr;
    if (snapshot == nullptr || !snapshot->is_object()) return;
    boost::system::error_code error;
    const auto number = [&](const char* name) {
      const json::value* value = snapshot->as_object().if_contains(name);
      return value != nullptr ? value->to_number<std::uint64_t>(error) : 0;
    };
    terminal->progress("writing memory", number("done"), number("total"));
  };
}

}  // namespace

int snapshot_command(const SnapshotOptions& options) {
  // The machine has a working directory of its own.
  std::error_code error;
  const auto out = std::filesystem::absolute(options.out, error);
  if (error) return report(Error(options.out.string() + ": " + error.message()));
  auto target = out.lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "out/" means "out"
  json::object request{{"call", "snapshot"},
                       {"out", target.string()},
                       {"prepare", options.prepare},
                       {"then", options.stop ? "stop" : "resume"}};
  if (!options.diff.empty()) {
    const auto base = snapshot::open_parent(options.diff);
    if (!base) return report(base.error());
    request["diff"] = supervisor::hex(base->digest());
  }
  // In its jail the machine has no name for it.
  const UniqueFd folder(::open(target.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return report(Error::from_errno(target.parent_path().string()));
  std::vector<int> files{folder.get()};
  UniqueFd key;
  if (!options.key.empty()) {
    key = UniqueFd(::open(options.key.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    const std::string name = "key " + options.key.string();
    if (!key) return report(Error::from_errno(name));
    // Refused here already, by its name.
    if (const auto good = snapshot::Key::read_open(key.get(), name); !good)
      return report(good.error());
    request["key"] = true;
    files.push_back(key.get());
  }
  const auto reply =
      call_api(options.api, request, {.files = files, .waiting = progress_of(options.api)});
  if (!reply) return report(reply.error());
  if (options.json)
    std::printf("%s\n", json::serialize(*reply).c_str());
  else
    std::printf("%s\n", snapshot_line(*reply).c_str());
  return kExitDone;
}

int stop_command(const std::filesystem::path& api, std::chrono::milliseconds patience) {
  const auto stopped = stop_machine(api, patience);
  return stopped ? kExitDone : report(stopped.error());
}

int simple_call_command(const std::filesystem::path& api, const std::string& call) {
  const auto reply = call_api(api, {{"call", call}});
  if (!reply) return report(reply.error());
  if (call == "status") std::printf("%s\n", json::serialize(*reply).c_str());
  const json::value* text = reply->if_contains("text");
  if (text != nullptr && text->is_string()) std::fputs(text->get_string().c_str(), stdout);
  return kExitDone;
}

}  // namespace clonesafe::cli
