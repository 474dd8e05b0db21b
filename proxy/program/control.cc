// What operators ask for, on the thread of Program::run().
#include <spdlog/spdlog.h>

#include <boost/json.hpp>
#include <utility>

#include "clonesafe/clonesafe.h"
#include "clonesafe/hooks.h"
#include "clonesafe/version.h"
#include "libclonesafe/base/service_manager.h"
#include "proxy/program/program.h"
#include "proxy/program/start_commands.h"
#include "vmm_device/machine/api_server.h"

namespace clonesafe::proxy {
namespace {

namespace json = boost::json;

// How often it is seen whether the last session has ended.
constexpr std::chrono::milliseconds kLookEvery{50};

const char* watch_name() {
  switch (cs_watch_state()) {
    case CS_WATCH_ALONE:
      return "alone";
    case CS_WATCH_UNTRACKED:
      return "untracked";
    case CS_WATCH_TRACKED:
      return "tracked";
    default:
      return "off";
  }
}

std::unexpected<Error> refuse(std::string_view key) {
  return fail("'" + std::string(key) + "' is another one, which takes a restart");
}

// What a reload can't change, since it is done once.
Status check_unchanged(const Config& now, const Config& next) {
  if (now.threads != next.threads) return refuse("threads");
  if (now.control_socket != next.control_socket) return refuse("control_socket");
  if (now.user != next.user) return refuse("user");
  if (now.seccomp != next.seccomp) return refuse("seccomp");
  if (now.park != next.park) return refuse("park");
  if (now.park_deadline != next.park_deadline) return refuse("park_deadline_ms");
  return {};
}

// The process that runs them can be told of no others.
Status check_commands(const Commands* commands, const Config& next) {
  for (const CommandConfig& command : commands_of(next)) {
    if (commands == nullptr || !commands->knows(command)) return refuse("postgres.users_command");
  }
  return {};
}

}  // namespace

Status Program::listen_for_operators() {
  if (config_.control_socket.empty()) return {};
  const Address address{.host = {}, .port = 0, .path = config_.control_socket};
  if (auto removed = remove_dead_socket(address); !removed)
    return fail(removed.error(), "control_socket");
  auto server = ApiServer::create(io_, config_.control_socket,
                                  [this](ApiRequest request, const ApiServer::Reply& reply) {
                                    reply(answer(request.body), {});
                                  });
  if (!server) return fail(server.error());
  operators_ = std::move(*server);
  return {};
}

json::object Program::answer(const json::object& request) {
  const auto call = parse_call(request);
  if (!call) return api_failure(call.error().message());
  switch (call->kind) {
    case CallKind::kStatus:
      return status();
    case CallKind::kSessions:
      return sessions(call->limit);
    case CallKind::kUpstreams:
      return {{"ok", true}, {"upstreams", upstreams_to_json(census())}};
    case CallKind::kMetrics:
      return {{"ok", true}, {"text", to_prometheus(census(), state())}};
    case CallKind::kPause:
      pause();
      return status();
    case CallKind::kResume:
      resume();
      return status();
    case CallKind::kDrain:
      drain(*call);
      return status();
    case CallKind::kFence:
      for (const auto& worker : workers_) worker->fence();
      return status();
    case CallKind::kReload:
      if (auto loaded = reload(); !loaded) return api_failure(loaded.error().message());
      return status();
  }
  return api_failure("unknown call");
}

std::vector<ServiceCensus> Program::census() {
  std::vector<ServiceCensus> all;
  for (const auto& worker : workers_) {
    for (const ServiceCensus& service : worker->census()) add_to(all, service);
  }
  return all;
}

ProcessState Program::state() const {
  ProcessState state = state_;
  state.parked = parking_ != nullptr && parking_->parked();
  for (const auto& worker : workers_) state.tombstones += worker->tombstones();
  return state;
}

json::object Program::status() {
  std::uint64_t sessions = 0;
  for (const ServiceCensus& service : census()) sessions += service.sessions;
  cs_status_report report{};
  const bool known = cs_status(&report, sizeof report) == 0;
  const ProcessState now = state();
  return {{"ok", true},
          {"proxy", CLONESAFE_VERSION},
          {"services", parts_.size()},
          {"threads", workers_.size()},
          {"sessions", sessions},
          {"paused", now.paused},
          {"parked", now.parked},
          {"draining", now.draining},
          {"tombstones", now.tombstones.standing},
          {"stale_segments_dropped", now.tombstones.dropped},
          {"reloads", now.reloads},
          {"tier", known ? cs_tier_name(report.tier) : "unknown"},
          {"agent", watch_name()}};
}

json::object Program::sessions(std::size_t limit) {
  std::vector<SessionCensus> all;
  std::uint64_t count = 0;
  for (const auto& worker : workers_) {
    for (const ServiceCensus& service : worker->census()) count += service.sessions;
    const auto more = worker->sessions(limit - all.size());
    all.insert(all.end(), more.begin(), more.end());
  }
  const std::uint64_t left_off = count > all.size() ? count - all.size() : 0;
  return {{"ok", true}, {"sessions", to_json(all)}, {"left_off", left_off}};
}

void Program::pause() {
  for (const auto& worker : workers_) worker->pause();
  state_.paused = true;
}
void Program::resume() {
  for (const auto& worker : workers_) worker->resume();
  state_.paused = false;
}

void Program::drain(const Call& call) {
  if (call.grace) drain_until_ = std::chrono::steady_clock::now() + *call.grace;
  if (std::exchange(state_.draining, true)) return;
  spdlog::info("draining");
  listeners_ = Listeners(config_.threads);
  for (const auto& worker : workers_) worker->stop_listening();
  end_when_idle();
}

void Program::end_when_idle() {
  drained_.expires_after(kLookEvery);
  drained_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    std::uint64_t left = 0;
    for (const ServiceCensus& service : census()) left += service.sessions;
    if (left == 0 || std::chrono::steady_clock::now() >= drain_until_) {
      spdlog::info("drained, {} sessions left", left);
      return io_.stop();
    }
    end_when_idle();
  });
}

Status Program::reload() {
  // The service manager waits for the next READY=1.
  [[maybe_unused]] const auto began = notify_service_manager("RELOADING=1");
  auto replaced = replace_configuration();
  ++(replaced ? state_.reloads : state_.failed_reloads);
  [[maybe_unused]] const auto ended = notify_service_manager("READY=1");
  if (replaced) spdlog::info("configuration loaded again, {} services", parts_.size());
  return replaced;
}

// All that can fail comes before anything is changed.
Status Program::replace_configuration() {
  if (file_.empty()) return fail("there is no configuration file");
  if (state_.draining) return fail("it is draining");
  const auto next = load_config(file_);
  if (!next) return fail(next.error());
  if (auto same = check_unchanged(config_, *next); !same) return fail(same.error(), file_);
  if (auto known = check_commands(commands_.get(), *next); !known)
    return fail(known.error(), file_);
  auto parts = parts_of(*next, commands_);
  if (!parts) return fail(parts.error());
  if (auto tier = check_tier(*parts); !tier) return tier;
  if (auto marks = check_marks(*parts); !marks) return marks;
  auto listeners = listeners_.with(next->services);
  if (!listeners) return fail(listeners.error());
  if (auto served = serve(*parts, *listeners); !served) return served;
  config_ = *next;
  parts_ = std::move(*parts);
  listeners_ = std::move(*listeners);
  spdlog::set_level(spdlog::level::from_str(config_.log_level));
  return {};
}

}  // namespace clonesafe::proxy
