#include "guest_agent/ctl/for_host.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <csignal>
#include <cstdio>

#include "clonesafe/abi/host_protocol.h"
#include "clonesafe/version.h"
#include "guest_agent/base/bytes.h"
#include "guest_agent/base/command_line.h"
#include "guest_agent/base/files.h"
#include "guest_agent/ctl/host_session.h"
#include "guest_agent/ctl/tables.h"

namespace clonesafe::ctl {
namespace {

namespace json = boost::json;
using agent_channel::RestoreId;

// 1 is every other failure, 2 a wrong command line.
constexpr int kExitDegraded = 3;
constexpr int kExitCommandFailed = 4;

struct HostOptions {
  std::string vsock;
  std::string restore_id;
  std::string kind = "clone";
  std::string metadata;  // a file
  bool safe = false;
  bool json = false;
  bool stops = false;
  double timeout_s = 30;
  unsigned deadline_ms = 10'000;
  std::vector<std::string> command;
};

int refuse(const std::string& message) {
  std::fprintf(stderr, "clonesafectl: %s\n", message.c_str());
  return 1;
}

bool is_id(const std::string& text) {
  return text.size() == 2 * RestoreId().size() &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// That of the command line, or one that nothing has had yet.
Result<RestoreId> restore_id(const HostOptions& options) {
  RestoreId id{};
  if (options.restore_id.empty()) {
    if (::getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size()))
      return fail_errno("getrandom");
    return id;
  }
  for (std::size_t i = 0; i < id.size(); ++i) {
    const char* const pair = options.restore_id.data() + 2 * i;
    std::from_chars(pair, pair + 2, id[i], 16);
  }
  return id;
}

// In the members of the agent's own status.
json::object as_json(const agent_channel::SafeReport& report, const agent_channel::Hello& agent) {
  json::array repairs;
  for (const agent_channel::RepairResult& repair : report.repairs) {
    repairs.push_back({{"name", repair.name},
                       {"result", repair.result},
                       {"us", repair.us},
                       {"detail", repair.detail}});
  }
  return {{"agent", agent.agent},
          {"kernel", agent.kernel},
          {"state", report.state},
          {"generation", agent::hex(report.generation)},
          {"reseed_epoch", agent::hex(report.reseed_epoch)},
          {"restore_id", agent::hex(report.restore_id)},
          {"sources", json::array(report.sources.begin(), report.sources.end())},
          {"repairs", std::move(repairs)}};
}

// What the file holds that was named, if one was.
Result<std::optional<std::string>> metadata(const HostOptions& options) {
  if (options.metadata.empty()) return std::nullopt;
  auto text = agent::read_file(options.metadata, CLONESAFE_HOST_METADATA_MAX);
  if (!text) return fail(std::move(text.error()));
  json::error_code error;
  // Room for the rest of the line.
  const bool fits = json::serialize(json::string(*text)).size() < CLONESAFE_HOST_LINE_MAX - 1024;
  (void)json::parse(json::serialize(json::string(*text)), error);
  if (error || !fits) return fail(options.metadata + ": not text of a size that can be sent");
  return std::optional(std::move(*text));
}

Clock::time_point end_of(const HostOptions& options) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double>(options.timeout_s));
}

// Prints the report of the restore that was named, and gives the exit code.
int print_report(HostSession& session, const HostOptions& options) {
  const auto report = session.wait_for_report(options.safe, end_of(options));
  if (!report) {
    return refuse(session.agent().agent.empty()
                      ? "no agent connected within the time limit"
                      : "no report of this restore within the time limit");
  }
  const json::object object = as_json(*report, session.agent());
  const std::string text = options.json ? json::serialize(object) + "\n"
                                        : status_table(object, ::isatty(STDOUT_FILENO) == 1);
  std::fputs(text.c_str(), stdout);
  return report->state == "safe" ? 0 : kExitDegraded;
}

int wait_for_guest(HostSession& session, const HostOptions& options, const RestoreId& id) {
  session.name_restore(id, *parse_restore_kind(options.kind));
  return print_report(session, options);
}

int prepare_guest(HostSession& session, const HostOptions& options, const RestoreId& id) {
  RestoreId before{};
  if (::getrandom(before.data(), before.size(), 0) != static_cast<ssize_t>(before.size()))
    return refuse(Error::from_errno("getrandom").message());
  // Not another machine: only its generators are seeded anew.
  session.name_restore(before, RestoreKind::kResume);
  if (!session.wait_for_agent(end_of(options)))
    return refuse("no agent connected within the time limit");
  const std::string name = agent::hex(id);
  const auto prepared = session.prepare(name, std::chrono::milliseconds(options.deadline_ms));
  if (!prepared || !prepared->ok) {
    session.abort(name);
    return refuse("not prepared: " +
                  (prepared ? prepared->error : std::string(prepared.error().message())));
  }
  const auto code = session.run(options.command);
  if (!code || *code != 0) {
    session.abort(name);
    refuse(code ? options.command[0] + " ended with exit code " + std::to_string(*code)
                : std::string(code.error().message()));
    return kExitCommandFailed;
  }
  if (options.stops) return 0;
  session.resumed(id);
  return print_report(session, options);
}

void add_common(CLI::App& command, HostOptions& options) {
  command
      .add_option("--timeout", options.timeout_s, "seconds for the agent to come, and to report")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
  command
      .add_option("--restore-id", options.restore_id,
                  "what this restore is called, 32 hexadecimal digits (default: random)")
      ->check([](const std::string& text) {
        return is_id(text) ? std::string() : "not 32 lower-case hexadecimal digits";
      });
  command.add_flag("--safe", options.safe, "wait until all repairs succeeded");
  command.add_flag("--json", options.json, "the report as one JSON object");
}

}  // namespace

bool is_for_host(int argc, const char* const* argv) {
  if (argc < 2) return false;
  const std::string_view first = argv[1];
  return first == "--vsock" || first.starts_with("--vsock=");
}

int run_for_host(int argc, const char* const* argv) {
  HostOptions options;
  CLI::App app("The host's end of a guest's clonesafed, for any VMM.", "clonesafectl");
  app.require_subcommand(1);
  app.add_option("--vsock", options.vsock, "the VMM's vsock; listens on PATH_17228")
      ->required()
      ->type_name("PATH");
  CLI::App* const wait =
      app.add_subcommand("wait", "until the guest reports its repairs after a restore or a boot");
  add_common(*wait, options);
  wait->add_option("--kind", options.kind, "boot, clone or resume")
      ->capture_default_str()
      ->check(CLI::IsMember({"boot", "clone", "resume"}));
  wait->add_option("--metadata", options.metadata,
                   "a document for this guest, which its agent puts in /run/clonesafe/metadata")
      ->type_name("FILE");
  CLI::App* const prepare =
      app.add_subcommand("prepare", "has the guest freeze its workload while a command runs");
  add_common(*prepare, options);
  prepare->add_option("--deadline-ms", options.deadline_ms, "for the guest, and for the command")
      ->capture_default_str()
      ->check(CLI::Range(1u, 3'600'000u));
  prepare->add_flag("--stop", options.stops, "the command ends the machine: nothing follows");
  prepare->add_option("command", options.command, "takes the snapshot")->required();
  if (const auto end = parse_command_line(app, argc, argv)) return *end;

  std::signal(SIGPIPE, SIG_IGN);
  spdlog::set_default_logger(spdlog::stderr_logger_st("clonesafectl"));
  spdlog::set_pattern("%n: %v");
  const auto id = restore_id(options);
  if (!id) return refuse(id.error().message());
  auto document = metadata(options);
  if (!document) return refuse(document.error().message());
  auto session = HostSession::listen(
      options.vsock + "_" + std::to_string(CLONESAFE_HOST_VSOCK_PORT), std::move(*document));
  if (!session) return refuse(session.error().message());
  return wait->parsed() ? wait_for_guest(**session, options, *id)
                        : prepare_guest(**session, options, *id);
}

}  // namespace clonesafe::ctl
