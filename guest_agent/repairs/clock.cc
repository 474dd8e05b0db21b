#include "guest_agent/repairs/clock.h"

#include <fmt/core.h>

#include <cstdlib>
#include <limits>
#include <optional>

namespace clonesafe::agent {
namespace {

constexpr std::int64_t kMicrosecond = 1'000;
// What may lie between setting the clock and reading it, beyond the time that passed: its rate may
// be adjusted by up to 500 ppm (adjtimex(2)).
constexpr std::int64_t kReadBackSlack = 1'000'000;

// Since the host's time was read; nothing if that isn't known.
std::optional<std::int64_t> since_restore(const Restore& restore, std::uint64_t tsc,
                                          std::int64_t monotonic_ns) {
  if (restore.monotonic_ns != 0 && monotonic_ns >= restore.monotonic_ns)
    return monotonic_ns - restore.monotonic_ns;
  // A TSC that is behind: somebody has written to it since.
  if (restore.tsc_khz == 0 || tsc < restore.tsc) return std::nullopt;
  const auto ns = static_cast<unsigned __int128>(tsc - restore.tsc) * 1'000'000U / restore.tsc_khz;
  if (ns > static_cast<unsigned __int128>(std::numeric_limits<std::int64_t>::max() / 2))
    return std::nullopt;
  return static_cast<std::int64_t>(ns);
}

}  // namespace

std::string seconds_text(std::int64_t ns) {
  const std::int64_t micros = std::llabs(ns) / kMicrosecond;
  return fmt::format("{}{}.{:06} s", ns < 0 ? '-' : '+', micros / 1'000'000, micros % 1'000'000);
}

Repair::Finding ClockRepair::run(const RepairEvent& event) {
  if (event.kind != RestoreKind::kClone && event.kind != RestoreKind::kMove)
    return skipped("the clock went on");
  const Restore& restore = event.restore;
  constexpr auto kLatest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max() / 2);
  if (restore.host_realtime_ns == 0 || restore.host_realtime_ns > kLatest)
    return skipped("this host doesn't tell the time");

  const auto before = kernel_.clock(CLOCK_REALTIME);
  if (!before) return failed(before.error().message());
  const auto start = kernel_.clock(CLOCK_MONOTONIC);
  if (!start) return failed(start.error().message());
  const auto passed = since_restore(restore, kernel_.tsc(), *start);
  const std::int64_t now = static_cast<std::int64_t>(restore.host_realtime_ns) + passed.value_or(0);
  if (auto set = kernel_.set_realtime(now); !set) return failed(set.error().message());

  const auto after = kernel_.clock(CLOCK_REALTIME);
  if (!after) return failed(after.error().message());
  const auto end = kernel_.clock(CLOCK_MONOTONIC);
  if (!end) return failed(end.error().message());
  const std::int64_t slack = (*end - *start) + (*end - *start) / 2000 + kReadBackSlack;
  if (*after < now - kReadBackSlack || *after > now + slack)
    return failed("the clock shows " + seconds_text(*after - now) + " from what it was set to");
  std::string detail = "stepped by " + seconds_text(now - *before);
  if (!passed) detail += "; the time since the restore isn't known, so it may be late by that";
  return ok(detail);
}

}  // namespace clonesafe::agent
