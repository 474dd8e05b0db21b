// clonesafed: makes this machine its own again after it was cloned. What it does, from top to
// bottom; how, in the folders beside.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "clonesafe/abi/secret_page.h"
#include "clonesafe/version.h"
#include "guest_agent/base/command_line.h"
#include "guest_agent/base/files.h"
#include "guest_agent/base/log.h"
#include "guest_agent/base/rights.h"
#include "guest_agent/config/config.h"
#include "guest_agent/control/control_server.h"
#include "guest_agent/control/host_channel.h"
#include "guest_agent/control/status_json.h"
#include "guest_agent/core/agent.h"
#include "guest_agent/core/event_loop.h"
#include "guest_agent/freeze/cgroup_freezer.h"
#include "guest_agent/helper/helper.h"
#include "guest_agent/helper/helper_client.h"
#include "guest_agent/hooks/http_hooks.h"
#include "guest_agent/hooks/memory_trim.h"
#include "guest_agent/hooks/program_hooks.h"
#include "guest_agent/hooks/watchers.h"
#include "guest_agent/metrics/metrics.h"
#include "guest_agent/metrics/metrics_server.h"
#include "guest_agent/repairs/kernel.h"
#include "guest_agent/repairs/standard_table.h"
#include "guest_agent/secrets/secret_store.h"
#include "guest_agent/sources/discover.h"
#include "guest_agent/systemd/service_manager.h"

namespace clonesafe::agent {
namespace {

// Two agents would undo each other's work on the page.
Result<UniqueFd> take_lock(const std::string& page_path) {
  const std::string path = page_path + ".lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_errno("open of " + path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return fail("another clonesafed is running (" + path + ")");
    return fail_errno("lock of " + path);
  }
  return fd;
}

std::string kernel_release() {
  utsname names = {};
  return ::uname(&names) == 0 ? names.release : "unknown";
}

ControlServer::Answer secret_answer(std::expected<UniqueFd, SecretStore::Refused> page) {
  if (page) return {.line = R"({"secret":{"size":4096}})", .file = std::move(*page)};
  const bool limit = page.error().why == SecretStore::Refusal::kLimit;
  return {.line = refusal_line(page.error().text, limit ? "limit" : "not_covered")};
}

// A machine without metrics is as safe as one with them: the agent goes on.
std::unique_ptr<MetricsServer> open_metrics(boost::asio::io_context& io, const std::string& path,
                                            MetricsServer::Render render) {
  if (path.empty()) return nullptr;
  auto server = MetricsServer::open(io, path, std::move(render));
  if (server) return std::move(*server);
  log_error("no metrics: " + server.error().message());
  return nullptr;
}

Status run(const Config& config) {
  if (auto set = set_log_level(config.log_level); !set) return set;
  std::signal(SIGPIPE, SIG_IGN);
  // First: it must not share the lock, which would then outlive this process for a moment.
  auto helper_socket = start_helper(config.hooks.folder);
  if (!helper_socket) return fail(std::move(helper_socket.error()));
  if (auto made = make_folder_of(config.page_path); !made) return made;
  const auto lock = take_lock(config.page_path);
  if (!lock) return fail(lock.error());

  Discovery found = discover_sources(config.sources);
  for (const SourceReport& source : found.reports) {
    log_info("source " + source.name + ": " + (source.present ? "" : "absent: ") + source.detail);
  }

  auto kernel = open_linux_kernel();
  if (!kernel) return fail(std::move(kernel.error()));
  RepairTable repairs = standard_table(config, **kernel, found.seed.get());
  CgroupFreezer freezer(config.snapshot.freeze);

  boost::asio::io_context io(1);
  LoopTimers timers(io);
  HelperClient helper(io, std::move(*helper_socket));
  ProgramHooks programs(
      helper, {.folder = config.hooks.folder, .each = config.hooks.each, .all = config.hooks.all});
  Watchers watchers(timers, config.hooks.watchers);
  HttpHooks http_hooks(io, config.hooks.http);
  MemoryTrim trim(helper,
                  {.drop_caches = config.snapshot.drop_caches, .reclaim = config.snapshot.reclaim});
  HookChain hooks;
  hooks.add(watchers);
  hooks.add(http_hooks);
  hooks.add(programs);
  HostChannel host(io, config.host, hello_line(CLONESAFE_VERSION, kernel_release()));
  auto agent = Agent::start({.sources = found.sources,
                             .seed = found.seed.get(),
                             .repairs = repairs,
                             .freezer = freezer,
                             .hooks = &hooks,
                             .trim = &trim,
                             .host = host,
                             .timers = timers,
                             .on_failure = config.on_failure,
                             .power_off = [&helper] { helper.run(PowerOff(), {}); },
                             .page_path = config.page_path});
  if (!agent) return fail(std::move(agent.error()));

  SecretStore secrets(
      {.folder = std::filesystem::path(config.page_path).replace_filename("secrets"),
       .pins = open_secret_pins(CLONESAFE_SECRET_PAGES_MAX),
       .host = host,
       .timers = timers});
  Wakes wakes(io, found.sources,
              {.poll_interval = config.poll_interval,
               .other_wake = [&host] { return host.wakes(); },
               .look = [&agent](std::string_view source) { (*agent)->check(source); }});
  if (config.host.enabled) {
    host.start({.said =
                    [&](const HostMessage& message) {
                      secrets.host_said(message);
                      (*agent)->host_said(message);
                      wakes.reconsider();
                    },
                .lost =
                    [&] {
                      secrets.host_lost();
                      (*agent)->host_lost();
                      wakes.reconsider();
                    }});
  }
  wakes.start();

  const AgentFacts facts = {.version = CLONESAFE_VERSION,
                            .kernel = kernel_release(),
                            .page_path = config.page_path,
                            .sources = found.reports};
  const ControlCommands commands = {
      .status =
          [&] {
            (*agent)->check("status");
            return status_json(facts, (*agent)->status(), secrets.status(), wakes.polls());
          },
      .allocate_secret =
          [&secrets](uid_t user, const ControlServer::Reply& reply) {
            secrets.allocate(user, [reply](auto page) { reply(secret_answer(std::move(page))); });
          },
      .prepare =
          [&agent](std::chrono::milliseconds deadline, const ControlServer::Reply& reply) {
            (*agent)->prepare({.id = "local", .deadline = deadline},
                              [reply](const Status& outcome, const auto& steps) {
                                reply({.line = prepared_json(outcome, steps)});
                              });
          },
      .resume =
          [&agent] {
            const Status resumed = (*agent)->resume();
            return resumed ? R"({"resumed":true})" : refusal_line(resumed.error().message());
          },
      .hooks = [&] { return hooks_json(config.hooks.folder, watchers); },
      .watchers = watchers};
  auto control =
      ControlServer::open(io, config.control_socket, config.control_group,
                          [&commands](std::string_view request, const ControlServer::Client& client,
                                      const ControlServer::Reply& reply) {
                            answer_request(request, client, commands, reply);
                          });
  if (!control) return fail(std::move(control.error()));
  RestoreCounts counts((*agent)->status());
  ServiceManager service;
  watchers.observe((*agent)->status());
  (*agent)->on_change([&] {
    const AgentStatus now = (*agent)->status();
    watchers.observe(now);
    counts.look(now);
    service.changed(now);
  });
  const auto metrics = open_metrics(io, config.metrics.socket, [&] {
    (*agent)->check("metrics");
    return metrics_text(facts, (*agent)->status(), secrets.status(), counts, wakes.polls());
  });

  // All that needs more than the repairs do is open.
  if (auto dropped = drop_rights(config.set_network); !dropped) return dropped;
  service.ready((*agent)->status());
  on_termination(io, [&] {
    service.stopping();
    io.stop();
  });
  io.run();
  return {};
}

}  // namespace
}  // namespace clonesafe::agent

// NOLINTNEXTLINE(bugprone-exception-escape): terminate() names what was thrown
int main(int argc, char** argv) {
  using namespace clonesafe;
  CLI::App app("Makes this machine its own again after it was cloned.", "clonesafed");
  std::string config_path;
  bool check = false;
  CLI::Option* const file =
      app.add_option("--config", config_path, "TOML file; all keys have defaults");
  app.add_flag("--check", check, "Only check the file")->needs(file);
  app.set_version_flag("--version", std::string("clonesafed ") + CLONESAFE_VERSION);
  if (const auto end = parse_command_line(app, argc, argv)) return *end;

  const auto config = config_path.empty() ? Result<agent::Config>(agent::Config())
                                          : agent::load_config(config_path);
  if (!config) {
    std::fprintf(stderr, "clonesafed: %s\n", config.error().message().c_str());
    return kExitUsage;
  }
  if (check) return 0;
  if (auto done = agent::run(*config); !done) {
    std::fprintf(stderr, "clonesafed: %s\n", done.error().message().c_str());
    return 1;
  }
  return 0;
}
