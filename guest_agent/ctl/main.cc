// clonesafectl: asks the agent of this machine. Exit code 0 only when what was asked for is so.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <thread>

#include "clonesafe/abi/generation_page.h"
#include "clonesafe/version.h"
#include "guest_agent/base/command_line.h"
#include "guest_agent/ctl/agent_client.h"
#include "guest_agent/ctl/doctor.h"
#include "guest_agent/ctl/for_host.h"
#include "guest_agent/ctl/tables.h"

namespace clonesafe::ctl {
namespace {

struct Options {
  std::string socket = "/run/clonesafe/agent.sock";
  std::string page = CLONESAFE_GENERATION_PAGE_PATH;
  bool json = false;
  bool safe = false;
  bool acknowledged = false;
  double timeout_s = 30;
  double deadline_s = 10;
  unsigned count = 0;  // of events; 0: without end
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
  std::vector<Finding> findings =
      status ? diagnose(known) : diagnose_without_agent(status.error().message());
  if (const auto hooks = ask(options.socket, {{"command", "hooks"}}); status && hooks)
    std::ranges::move(diagnose_hooks(*hooks), std::back_inserter(findings));
  print(options.json ? doctor_json(known, findings) + "\n"
                     : doctor_table(known, findings, on_terminal()));
  const bool bad = std::any_of(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.verdict == Verdict::kBad;
  });
  return bad ? 1 : 0;
}

int show_hooks(const Options& options) {
  const auto hooks = ask(options.socket, {{"command", "hooks"}});
  if (!hooks) return complain(hooks.error().message());
  print(options.json ? boost::json::serialize(*hooks) + "\n" : hooks_table(*hooks, on_terminal()));
  const std::string error = member(*hooks, "error");
  return error.empty() ? 0 : complain(error);
}

int show_events(const Options& options) {
  unsigned seen = 0;
  const auto ended = watch(options.socket, [&](const std::string& line, const auto& event) {
    print(options.json ? line + "\n" : event_line(event, on_terminal()));
    std::fflush(stdout);
    return ++seen != options.count;
  });
  return ended ? 0 : complain(ended.error().message());
}

std::chrono::milliseconds milliseconds_of(double seconds) {
  return std::chrono::round<std::chrono::milliseconds>(std::chrono::duration<double>(seconds));
}

int prepare(const Options& options) {
  const auto deadline = milliseconds_of(options.deadline_s);
  const auto prepared =
      ask(options.socket, {{"command", "prepare"}, {"deadline_ms", deadline.count()}}, deadline);
  if (!prepared) return complain(prepared.error().message());
  print(options.json ? boost::json::serialize(*prepared) + "\n"
                     : steps_table(*prepared, on_terminal()));
  return is_true(*prepared, "prepared") ? 0
                                        : complain("not prepared: " + member(*prepared, "error"));
}

int resume(const Options& options) {
  const auto resumed = ask(options.socket, {{"command", "resume"}});
  if (!resumed) return complain(resumed.error().message());
  if (options.json) print(boost::json::serialize(*resumed) + "\n");
  return 0;
}

// Until the programs that are tracked have acknowledged what happened last.
int wait_for_watchers(const Options& options) {
  const auto limit = milliseconds_of(options.timeout_s);
  const auto acks =
      ask(options.socket, {{"command", "wait"}, {"timeout_ms", limit.count()}}, limit);
  if (!acks) return complain(acks.error().message());
  if (options.json) print(boost::json::serialize(*acks) + "\n");
  if (is_true(*acks, "acknowledged")) return 0;
  return complain("not acknowledged within the time limit: " +
                  boost::json::serialize(acks->contains("missing") ? acks->at("missing")
                                                                   : boost::json::value()));
}

// The agent repairs before it answers, so its answer is about this machine as it is now. What there
// may be to wait for is the agent itself.
int wait(const Options& options) {
  if (options.acknowledged) return wait_for_watchers(options);
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
  if (is_for_host(argc, argv)) return run_for_host(argc, argv);
  Options options;
  CLI::App app("Asks clonesafed about this machine.", "clonesafectl");
  app.set_version_flag("--version", std::string("clonesafectl ") + CLONESAFE_VERSION);
  app.require_subcommand(1);
  app.footer("On a host: clonesafectl --vsock PATH --help");
  app.add_option("--socket", options.socket, "the agent's socket")->capture_default_str();
  app.add_option("--page", options.page, "the generation page")->capture_default_str();
  const auto add = [&](const char* name, const char* what, int (*run)(const Options&)) {
    CLI::App* const command = app.add_subcommand(name, what);
    command->add_flag("--json", options.json, "JSON, one object a line");
    return std::pair{command, run};
  };
  const std::array commands = {
      add("status", "what the agent knows and has done", show_status),
      add("doctor", "which tier programs get, what is not safe, what to change", show_doctor),
      add("wait", "until repairs are done", wait),
      add("events", "each snapshot, restore and change of state, as it happens", show_events),
      add("hooks", "what runs before a snapshot and after a restore", show_hooks),
      add("prepare", "announce a snapshot: hooks, freeze", prepare),
      add("resume", "the announced snapshot was taken, or will not be", resume)};
  CLI::App* const wait_command = app.get_subcommand("wait");
  CLI::Option* const safe =
      wait_command->add_flag("--safe", options.safe, "until they all succeeded");
  wait_command
      ->add_flag("--acknowledged", options.acknowledged,
                 "until programs that are tracked have acknowledged the last event")
      ->excludes(safe);
  wait_command->add_option("--timeout", options.timeout_s, "seconds")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e9));
  app.get_subcommand("events")->add_option("--count", options.count, "end after so many");
  app.get_subcommand("prepare")
      ->add_option("--deadline", options.deadline_s, "seconds, after which it is undone")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 600.0));
  if (const auto end = clonesafe::parse_command_line(app, argc, argv)) return *end;

  const auto given =
      std::ranges::find_if(commands, [](const auto& command) { return command.first->parsed(); });
  return given->second(options);
}
