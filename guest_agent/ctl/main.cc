// clonesafectl: asks the agent of this machine. Exit code 0 only when what was asked for is so.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <thread>

#include "clonesafe/abi/generation_page.h"
#include "clonesafe/version.h"
#include "guest_agent/base/command_line.h"
#include "guest_agent/ctl/agent_client.h"
#include "guest_agent/ctl/doctor.h"
#include "guest_agent/ctl/tables.h"

namespace clonesafe::ctl {
namespace {

struct Options {
  std::string socket = "/run/clonesafe/agent.sock";
  std::string page = CLONESAFE_GENERATION_PAGE_PATH;
  bool json = false;
  bool safe = false;
  double timeout_s = 30;
};

int complain(const std::string& message) {
  std::fprintf(stderr, "clonesafectl: %s\n", message.c_str());
  return 1;
}

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
}

bool on_terminal() {
  return ::isatty(STDOUT_FILENO) == 1;
}

std::string member(const boost::json::object& object, const char* name) {
  const auto* const value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

void print_status(const boost::json::object& status, const Options& options) {
  print(options.json ? boost::json::serialize(status) + "\n" : status_table(status, on_terminal()));
}

int show_status(const Options& options) {
  auto status = ask_status(options.socket);
  if (!status) {
    const std::string reason = status.error().message();
    status = read_page_status(options.page);
    if (!status) return complain(reason + "; and " + status.error().message());
    std::fprintf(stderr, "clonesafectl: %s; this is what the generation page says\n",
                 reason.c_str());
  }
  print_status(*status, options);
  return 0;
}

int show_doctor(const Options& options) {
  const auto status = ask_status(options.socket);
  const boost::json::object known = status ? *status : boost::json::object();
  const std::vector<Finding> findings =
      status ? diagnose(known) : diagnose_without_agent(status.error().message());
  print(options.json ? doctor_json(known, findings) + "\n"
                     : doctor_table(known, findings, on_terminal()));
  const bool bad = std::any_of(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.verdict == Verdict::kBad;
  });
  return bad ? 1 : 0;
}

// The agent repairs before it answers, so its answer is about this machine as it is now. What there
// may be to wait for is the agent itself.
int wait(const Options& options) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kPause{10};
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(options.timeout_s));
  for (;;) {
    const auto status = ask_status(options.socket);
    const std::string state = status ? member(*status, "state") : std::string();
    if (state == "safe" || (state == "degraded" && !options.safe)) {
      if (options.json) print_status(*status, options);
      return 0;
    }
    if (state == "degraded" && !is_true(*status, "retrying")) {
      if (options.json) print_status(*status, options);
      return complain("not safe: a repair failed (clonesafectl status says which)");
    }
    if (Clock::now() >= end) {
      return complain("not safe within the time limit: " +
                      (status ? "state " + state : status.error().message()));
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace
}  // namespace clonesafe::ctl

// NOLINTNEXTLINE(bugprone-exception-escape): terminate() names what was thrown
int main(int argc, char** argv) {
  using namespace clonesafe::ctl;
  Options options;
  CLI::App app("Asks clonesafed about this machine.", "clonesafectl");
  app.set_version_flag("--version", std::string("clonesafectl ") + CLONESAFE_VERSION);
  app.require_subcommand(1);
  app.add_option("--socket", options.socket, "the agent's socket")->capture_default_str();
  app.add_option("--page", options.page, "the generation page")->capture_default_str();
  CLI::App* const status = app.add_subcommand("status", "what the agent knows and has done");
  CLI::App* const doctor =
      app.add_subcommand("doctor", "which tier programs get, what is not safe, what to change");
  CLI::App* const wait_command = app.add_subcommand("wait", "until repairs are done");
  wait_command->add_flag("--safe", options.safe, "until they all succeeded");
  wait_command->add_option("--timeout", options.timeout_s, "seconds")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  for (CLI::App* const command : {status, doctor, wait_command}) {
    command->add_flag("--json", options.json, "one JSON object");
  }
  if (const auto end = clonesafe::parse_command_line(app, argc, argv)) return *end;

  if (status->parsed()) return show_status(options);
  if (doctor->parsed()) return show_doctor(options);
  return wait(options);
}
