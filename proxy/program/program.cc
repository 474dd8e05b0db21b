#include "proxy/program/program.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cerrno>

#include "clonesafe/clonesafe.h"
#include "clonesafe/hooks.h"
#include "proxy/tls/random.h"

namespace clonesafe::proxy {
namespace {

std::string message_of(int code) {
  return "libclonesafe: error " + std::to_string(code);
}

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&signals, signal);
  return signals;
}

// Whether everything at these addresses is this machine itself.
bool stays_here(const std::vector<Address>& addresses) {
  for (const Address& address : addresses) {
    const auto endpoint = numeric_endpoint(address);
    if (!endpoint || !is_local(*endpoint)) return false;
  }
  return true;
}

}  // namespace

void log_to_standard_error() {
  auto logger = spdlog::stderr_logger_mt("clonesafe-proxy");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%f %n %l: %v");
  spdlog::set_default_logger(std::move(logger));
}

Result<std::unique_ptr<Program>> Program::make(const Config& config) {
  spdlog::set_level(spdlog::level::from_str(config.log_level));
  // First, while the process may still map what tells it of a clone.
  if (const int code = cs_init(); code != 0) return fail(message_of(code));
  if (auto random = use_clone_safe_random(); !random) return fail(random.error());
  std::unique_ptr<Program> program(new Program(config));
  for (const ServiceConfig& service : program->config_.services) {
    auto parts = ServiceParts::make(service);
    if (!parts) return fail(parts.error());
    program->parts_.push_back(std::move(*parts));
  }
  return program;
}

// A clone that is noticed late has sealed something under its parent's keys by then.
Status Program::check_tier() const {
  cs_status_report report{};
  if (const int code = cs_status(&report, sizeof report); code != 0) return fail(message_of(code));
  if (report.tier >= CS_TIER_ANNOUNCED) return {};
  for (const ServiceParts& service : parts_) {
    const ServiceConfig& config = service.config;
    if (!config.upstream.tls || config.allow_window || stays_here(config.upstream.addresses))
      continue;
    return fail(
        "service '" + config.name + "': TLS to an upstream, and " +
        (report.tier == CS_TIER_NONE ? "nothing here tells of a clone"
                                     : "a clone is noticed only some time after its start") +
        (report.word_problem != nullptr ? " (" + std::string(report.word_problem) + ")" : "") +
        "; allow_window = true accepts that");
  }
  return {};
}

Status Program::listen() {
  for (std::uint32_t i = 0; i < config_.threads; ++i)
    workers_.push_back(std::make_unique<Worker>(parts_));
  for (std::size_t index = 0; index < parts_.size(); ++index) {
    const ServiceConfig& service = parts_[index].config;
    std::vector<UniqueFd> shared;  // Unix sockets: one, and copies of it
    for (const Address& address : service.listen) {
      if (!address.is_unix()) continue;
      auto fd = listen_at(address);
      if (!fd) return fail(fd.error(), "service '" + service.name + "'");
      shared.push_back(std::move(*fd));
    }
    for (const auto& worker : workers_) {
      std::vector<UniqueFd> sockets;
      for (const UniqueFd& fd : shared) {
        sockets.emplace_back(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
        if (!sockets.back()) return fail_errno("service '" + service.name + "': dup");
      }
      for (const Address& address : service.listen) {
        if (address.is_unix()) continue;
        auto fd = listen_at(address);
        if (!fd) return fail(fd.error(), "service '" + service.name + "'");
        sockets.push_back(std::move(*fd));
      }
      if (auto listening = worker->service(index).listen(std::move(sockets)); !listening)
        return listening;
    }
  }
  return {};
}

// After a restore every thread lets go of what is stale, and the agent, if there is one, waits for
// that. Streams that are used look at the generation themselves, and need no news.
Status Program::follow_generation() {
  cs_hook_options options{};
  options.function = [](const cs_event*, void* program) {
    for (const auto& worker : static_cast<Program*>(program)->workers_) worker->fence();
    return CS_HOOK_OK;
  };
  options.argument = this;
  options.name = "clonesafe-proxy";
  options.priority = CS_PRIORITY_CONNECTIONS;
  cs_hook* hook = nullptr;  // for as long as the process lives
  if (const int code = cs_after_restore_hook(&options, &hook); code != 0)
    return fail(message_of(code));
  if (const int code = cs_watch_start(nullptr); code != 0) return fail(message_of(code));
  return {};
}

Status Program::wait_for_signal() {
  const sigset_t signals = stop_signals();
  int signal = 0;
  if (const int error = sigwait(&signals, &signal); error != 0) return fail_errno("sigwait", error);
  return {};
}

Status Program::run() {
  if (auto tier = check_tier(); !tier) return tier;
  ::signal(SIGPIPE, SIG_IGN);
  // In every thread that starts after this: they are for wait_for_signal().
  const sigset_t signals = stop_signals();
  if (const int error = pthread_sigmask(SIG_BLOCK, &signals, nullptr); error != 0)
    return fail_errno("pthread_sigmask", error);
  if (auto listening = listen(); !listening) return listening;
  for (const auto& worker : workers_) worker->start();
  if (auto followed = follow_generation(); !followed) return followed;
  spdlog::info("serving, {} services on {} threads", parts_.size(), workers_.size());
  if (auto waited = wait_for_signal(); !waited) return waited;
  cs_watch_stop();
  workers_.clear();
  return {};
}

}  // namespace clonesafe::proxy
