#include "proxy/program/program.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>
#include <cerrno>

#include "clonesafe/clonesafe.h"
#include "libclonesafe/base/service_manager.h"
#include "proxy/core/spawn.h"
#include "proxy/program/library_error.h"
#include "proxy/program/rights.h"
#include "proxy/program/system_calls.h"
#include "proxy/service/diverted.h"
#include "proxy/tls/random.h"
#include "vmm_device/machine/api_server.h"

namespace clonesafe::proxy {
namespace {

sigset_t handled_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

// Whether everything at these addresses is this machine itself. Without any it may be anybody.
bool stays_here(const std::vector<Address>& addresses) {
  if (addresses.empty()) return false;
  for (const Address& address : addresses) {
    const auto endpoint = numeric_endpoint(address);
    if (!endpoint || !is_local(*endpoint)) return false;
  }
  return true;
}

void tell_service_manager(const std::string& lines) {
  if (auto told = notify_service_manager(lines); !told)
    spdlog::warn("the service manager can't be told: {}", told.error().message());
}

}  // namespace

void log_to_standard_error() {
  auto logger = spdlog::stderr_logger_mt("clonesafe-proxy");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%f %n %l: %v");
  spdlog::set_default_logger(std::move(logger));
}

Program::Program(const Config& config, std::string file, std::shared_ptr<const Commands> commands,
                 Parts parts)
    : config_(config),
      file_(std::move(file)),
      commands_(std::move(commands)),
      parts_(std::move(parts)),
      listeners_(config.threads) {}

Program::~Program() = default;

Result<Program::Parts> Program::parts_of(const Config& config,
                                         const std::shared_ptr<const Commands>& commands) {
  Parts all;
  for (const ServiceConfig& service : config.services) {
    auto parts = ServiceParts::make(service, commands);
    if (!parts) return fail(parts.error());
    all.push_back(std::make_shared<const ServiceParts>(std::move(*parts)));
  }
  return all;
}

Result<std::unique_ptr<Program>> Program::make(const Config& config, std::string file,
                                               std::shared_ptr<const Commands> commands) {
  spdlog::set_level(spdlog::level::from_str(config.log_level));
  // First, while the process may still map what tells it of a clone.
  if (const int code = cs_init(); code != 0) return fail(library_error(code));
  if (auto random = use_clone_safe_random(); !random) return fail(random.error());
  auto parts = parts_of(config, commands);
  if (!parts) return fail(parts.error());
  return std::unique_ptr<Program>(
      new Program(config, std::move(file), std::move(commands), std::move(*parts)));
}

// A clone that is noticed late has sealed something under its parent's keys by then.
Status Program::check_tier(const Parts& parts) {
  cs_status_report report{};
  if (const int code = cs_status(&report, sizeof report); code != 0)
    return fail(library_error(code));
  if (report.tier >= CS_TIER_ANNOUNCED) return {};
  for (const auto& service : parts) {
    const ServiceConfig& config = service->config;
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

Status Program::check_marks(const Parts& parts) {
  for (const auto& service : parts) {
    if (auto checked = check_mark(service->config); !checked) return checked;
  }
  return {};
}

Status Program::listen() {
  if (auto inherited = listeners_.inherit(); !inherited) return inherited;
  auto listeners = listeners_.with(config_.services);
  if (!listeners) return fail(listeners.error());
  listeners_ = std::move(*listeners);
  return listen_for_operators();
}

// In place of what is served now, on all threads or, if a socket can't be had, on none.
Status Program::serve(const Parts& parts, const Listeners& listeners) {
  std::vector<std::vector<Worker::Part>> all(workers_.size());
  for (std::size_t thread = 0; thread < workers_.size(); ++thread) {
    for (const auto& service : parts) {
      auto sockets = listeners.sockets(service->config, thread);
      if (!sockets) return fail(sockets.error());
      all[thread].push_back({.parts = service, .sockets = std::move(*sockets)});
    }
  }
  for (std::size_t thread = 0; thread < workers_.size(); ++thread) {
    if (auto served = workers_[thread]->serve(std::move(all[thread])); !served) return served;
  }
  return {};
}

Status Program::start() {
  for (std::uint32_t i = 0; i < config_.threads; ++i)
    workers_.push_back(std::make_unique<Worker>(config_.threads));
  if (auto served = serve(parts_, listeners_); !served) return served;
  for (const auto& worker : workers_) worker->start();
  auto parking = Parking::start(workers_, config_);
  if (!parking) return fail(parking.error());
  parking_ = std::move(*parking);
  return {};
}

void Program::wait_for_signal() {
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    if (signal != SIGHUP) return io_.stop();
    if (auto loaded = reload(); !loaded) spdlog::error("reload: {}", loaded.error().message());
    wait_for_signal();
  });
}

// Nothing comes from it but its end.
Status Program::watch_commands() {
  if (!commands_) return {};
  UniqueFd copy(::fcntl(commands_->socket(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return fail_errno("dup of a socket");
  commands_end_.assign(copy.release());
  commands_end_.async_wait(
      boost::asio::posix::descriptor_base::wait_read, [](const boost::system::error_code& error) {
        if (error) return;
        spdlog::error("the process that runs commands has ended: what needs one is refused");
      });
  return {};
}

void Program::stop() {
  boost::asio::post(io_, [this] { io_.stop(); });
}

Status Program::run() {
  if (auto tier = check_tier(parts_); !tier) return tier;
  if (auto marks = check_marks(parts_); !marks) return marks;
  ::signal(SIGPIPE, SIG_IGN);
  // In every thread that starts after this: they are for this one.
  const sigset_t handled = handled_signals();
  sigset_t before;
  if (const int error = pthread_sigmask(SIG_BLOCK, &handled, &before); error != 0)
    return fail_errno("pthread_sigmask", error);
  boost::system::error_code error;
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) signals_.add(signal, error);
  if (error) return fail("signals: " + error.message());
  if (auto listening = listen(); !listening) return listening;
  if (auto dropped = drop_rights(config_.user); !dropped) return dropped;
  if (config_.seccomp) {
    if (auto restricted = restrict_system_calls(); !restricted)
      return fail(restricted.error(), "'seccomp'");
  }
  if (auto started = start(); !started) return started;
  if (auto watched = watch_commands(); !watched) return watched;
  wait_for_signal();
  if (const int failed = pthread_sigmask(SIG_SETMASK, &before, nullptr); failed != 0)
    return fail_errno("pthread_sigmask", failed);
  spdlog::info("serving, {} services on {} threads", parts_.size(), workers_.size());
  tell_service_manager("READY=1");
  run_until_stopped(io_, [] {});
  tell_service_manager("STOPPING=1");
  operators_.reset();
  parking_.reset();
  workers_.clear();
  return {};
}

}  // namespace clonesafe::proxy
