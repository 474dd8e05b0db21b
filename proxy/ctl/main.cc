// clonesafe-proxyctl: asks a clonesafe-proxy what it does, and tells it what to do.
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cstdio>

#include "clonesafe/version.h"
#include "proxy/ctl/tables.h"
#include "vmm_device/machine/api_server.h"

namespace {

using namespace clonesafe;
using namespace clonesafe::proxy;
namespace json = boost::json;

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr std::chrono::seconds kPatience{30};
constexpr std::size_t kLongestAnswer = 16U << 20;

std::string metrics_text(const json::object& answer) {
  const json::value* const text = answer.if_contains("text");
  return text != nullptr && text->is_string() ? std::string(text->get_string()) : "";
}

struct Command {
  const char* name;
  const char* help;
  std::string (*table)(const json::object& answer);
};
constexpr Command kCommands[] = {
    {"status", "What it is doing", status_table},
    {"sessions", "Applications' connections", sessions_table},
    {"upstreams", "Upstreams, and connections to them", upstreams_table},
    {"metrics", "Counters, in Prometheus' text format", metrics_text},
    {"pause", "Pass on nothing that applications send; close nothing", status_table},
    {"resume", "Go on", status_table},
    {"drain", "Serve nobody new, and end with the last session", status_table},
    {"fence", "Look now whether the machine was cloned", status_table},
    {"reload", "Read the configuration again", status_table},
};

int report(const Error& error) {
  std::fprintf(stderr, "clonesafe-proxyctl: %s\n", error.message().c_str());
  return kExitFailed;
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): terminate() names what was thrown
int main(int argc, char** argv) {
  CLI::App app("Asks a clonesafe-proxy, and tells it what to do.", "clonesafe-proxyctl");
  app.set_version_flag("--version", std::string("clonesafe-proxyctl ") + CLONESAFE_VERSION);
  app.require_subcommand(1);
  std::string socket = "/run/clonesafe-proxy/control.sock";
  bool as_json = false;
  double grace = -1;
  std::size_t limit = 200;
  app.add_option("--socket", socket, "The proxy's control_socket")->capture_default_str();
  for (const Command& command : kCommands) {
    CLI::App* const sub = app.add_subcommand(command.name, command.help);
    sub->fallthrough();
    sub->add_flag("--json", as_json, "Print the answer as JSON");
    if (std::string_view(command.name) == "drain")
      sub->add_option("--grace", grace, "Seconds after which sessions that are left are reset")
          ->check(CLI::Range(0.0, 86'400.0));
    if (std::string_view(command.name) == "sessions")
      sub->add_option("--limit", limit, "How many at most")
          ->check(CLI::Range(1, 1'000))
          ->capture_default_str();
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::fprintf(stderr, "clonesafe-proxyctl: %s\n", error.what());
    return kExitUsage;
  }
  for (const Command& command : kCommands) {
    if (!app.got_subcommand(command.name)) continue;
    json::object request = {{"call", command.name}};
    if (grace >= 0) request["grace_ms"] = static_cast<std::int64_t>(grace * 1e3);
    if (std::string_view(command.name) == "sessions") request["limit"] = limit;
    const auto answer =
        call_api(socket, request, {.timeout = kPatience, .longest_answer = kLongestAnswer});
    if (!answer) return report(answer.error());
    const std::string text = as_json ? json::serialize(*answer) + "\n" : command.table(*answer);
    if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0)
      return report(Error::from_errno("standard output"));
  }
  return 0;
}
