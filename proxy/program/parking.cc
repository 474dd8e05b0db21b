#include "proxy/program/parking.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <future>

#include "proxy/program/library_error.h"

namespace clonesafe::proxy {
namespace {

// For the hook itself, beyond what sessions are given.
constexpr std::chrono::milliseconds kMargin{500};

std::vector<ServiceCensus> census_of(const std::vector<std::unique_ptr<Worker>>& workers) {
  std::vector<ServiceCensus> all;
  for (const auto& worker : workers) {
    for (const ServiceCensus& service : worker->census()) add_to(all, service);
  }
  return all;
}

}  // namespace

std::string parking_report(const std::vector<ServiceCensus>& before,
                           const std::vector<ServiceCensus>& after, Park park) {
  std::string report;
  for (const ServiceCensus& service : after) {
    const auto earlier = std::ranges::find(before, service.name, &ServiceCensus::name);
    const std::uint64_t had = earlier != before.end() ? earlier->upstreams.open : 0;
    const std::uint64_t left = service.upstreams.open;
    if (!report.empty()) report += "; ";
    report += service.name + ": ";
    if (park == Park::kKeep) {
      report += std::to_string(left) + " kept";
      continue;
    }
    report += std::to_string(had - std::min(left, had)) + " closed";
    if (left != 0) report += ", " + std::to_string(left) + " busy";
    if (service.commands_running != 0)
      report += ", " + std::to_string(service.commands_running) + " running a command";
  }
  if (report.size() >= CS_HOOK_DETAIL) report.resize(CS_HOOK_DETAIL - 1);
  return report;
}

Result<Parking::Hook> Parking::add(Register* registers, cs_hook_function* function) {
  cs_hook_options options{};
  options.function = function;
  options.argument = this;
  options.name = "clonesafe-proxy";
  options.priority = CS_PRIORITY_CONNECTIONS;
  options.deadline_ms = static_cast<std::uint32_t>((deadline_ + kMargin).count());
  cs_hook* hook = nullptr;
  if (const int code = registers(&options, &hook); code != 0) return fail(library_error(code));
  return Hook(hook);
}

Result<std::unique_ptr<Parking>> Parking::start(const std::vector<std::unique_ptr<Worker>>& workers,
                                                const Config& config) {
  std::unique_ptr<Parking> parking(new Parking(workers, config));
  auto before = parking->add(cs_before_snapshot_hook, [](const cs_event* event, void* self) {
    return static_cast<Parking*>(self)->before_snapshot(*event);
  });
  if (!before) return fail(before.error());
  parking->before_ = std::move(*before);
  auto after = parking->add(cs_after_restore_hook, [](const cs_event*, void* self) {
    return static_cast<Parking*>(self)->after_restore();
  });
  if (!after) return fail(after.error());
  parking->after_ = std::move(*after);
  cs_watch_options options{};
  options.deadline_ms = static_cast<std::uint32_t>((parking->deadline_ + 2 * kMargin).count());
  if (const int code = cs_watch_start(&options); code != 0) return fail(library_error(code));
  parking->watches_ = true;
  return parking;
}

Parking::~Parking() {
  if (watches_) cs_watch_stop();
}

int Parking::before_snapshot(const cs_event& event) {
  const bool part = park_ == Park::kClose;
  const std::vector<ServiceCensus> before = census_of(workers_);
  parked_ = true;
  std::vector<std::future<std::vector<ServiceCensus>>> parking;
  // Side by side: each may take until the deadline.
  for (const auto& worker : workers_)
    parking.push_back(worker->park({.part = part, .deadline = deadline_}));
  std::vector<ServiceCensus> after;
  for (auto& one : parking) {
    for (const ServiceCensus& service : one.get()) add_to(after, service);
  }
  const std::string report = parking_report(before, after, park_);
  report.copy(event.detail, CS_HOOK_DETAIL - 1);
  const bool busy = std::ranges::any_of(after, [](const ServiceCensus& service) {
    return service.upstreams.open != 0 || service.commands_running != 0;
  });
  if (!part || !busy) {
    spdlog::info("parked for a snapshot: {}", report);
    return CS_HOOK_OK;
  }
  spdlog::warn("not parked within {} ms, the snapshot is refused: {}", deadline_.count(), report);
  for (const auto& worker : workers_) worker->unpark();
  parked_ = false;
  return CS_HOOK_FAIL_CLOSED;
}

int Parking::after_restore() {
  for (const auto& worker : workers_) worker->fence();
  for (const auto& worker : workers_) worker->unpark();
  parked_ = false;
  return CS_HOOK_OK;
}

}  // namespace clonesafe::proxy
