// How long a clone waits for its agent, beside fork + exec in the same guest, and what the agent
// weighs. Runs on a host with KVM (scripts/bench.sh agent); CLONESAFE_BENCH_RESTORES restores.
#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>
#include <thread>

#include "bench/report/results.h"
#include "tests/lab/nested/clone_fixture.h"

namespace clonesafe::lab {
namespace {

using bench::quantile;

std::vector<double> numbers(const std::string& text) {
  std::istringstream in(text);
  std::vector<double> values;
  for (double value = 0; in >> value;) values.push_back(value);
  return values;
}

int restores() {
  const char* text = std::getenv("CLONESAFE_BENCH_RESTORES");  // NOLINT(concurrency-mt-unsafe)
  return text == nullptr ? 20 : std::atoi(text);               // NOLINT(cert-err34-c)
}

// The resident memory of the agent ("head -1") or of its helper ("tail -1"), KiB.
double rss_kib(const Guest& guest, const std::string& process) {
  const auto found = numbers(
      guest.get("awk '/^VmRSS:/ {print $2}' /proc/$(pidof clonesafed | tr ' ' '\\n' | sort -n | " +
                process + ")/status"));
  EXPECT_EQ(found.size(), 1u);
  return found.empty() ? 0 : found[0];
}

class AgentBench : public CloneTest {
 protected:
  // Of clones whose agent is dead.
  struct WithoutAgent {
    std::vector<double> reseed_us;
    std::vector<double> first_draw_us;
  };
  WithoutAgent without_agent();
};

AgentBench::WithoutAgent AgentBench::without_agent() {
  auto vm = BootedVm::boot(scratch_ / "least-source", {.cmdline = kNoProbes});
  if (!vm) return {};
  vm->guest().get(
      "killall -KILL clonesafed; bench_guest_times least /run/least >/run/log 2>&1 & sleep 1");
  const auto taken = vm->guest().snapshot(scratch_ / "least", {"--stop"});
  if (!taken || taken->status != 0) {
    ADD_FAILURE() << (taken ? taken->output : taken.error().message());
    return {};
  }
  WithoutAgent all;
  for (int i = 0; i < restores(); ++i) {
    auto restored = Restored::restore(scratch_ / "least", scratch_ / ("least-" + std::to_string(i)),
                                      1, {"--timeout", "110", "--wait", "running"});
    if (!restored) return {};
    const auto times = numbers(restored->guest(1).get(
        "n=0; until [ -f /run/least ] || [ $n = 100 ]; do sleep 0.1; n=$((n + 1)); done; cat "
        "/run/least"));
    if (times.size() != 2) {
      ADD_FAILURE() << restored->guest(1).get("cat /run/log");
      return {};
    }
    all.reseed_us.push_back(times[0] / 1000);
    all.first_draw_us.push_back(times[1] / 1000);
  }
  return all;
}

TEST_F(AgentBench, AgentsFigures) {
  auto vm = boot({.cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  const Guest source = vm->guest();
  bench::Results results;
  results.add(
      {.name = "agent.rss_kib", .value = rss_kib(source, "head -1"), .unit = "KiB", .goal = 8192});
  results.add({.name = "agent.helper_rss_kib", .value = rss_kib(source, "tail -1"), .unit = "KiB"});
  const auto warm_ns = numbers(source.get("bench_guest_times fork-exec 300"));
  ASSERT_EQ(warm_ns.size(), 300u);
  results.add({.name = "agent.warm_forkexec_us",
               .value = quantile(warm_ns, 0.5) / 1000,
               .unit = "us, median of 300 in the source"});

  source.get(
      "bench_guest_times watch /run/times >/dev/null 2>&1 & sleep 1; pidof bench_guest_times");
  const auto taken = source.snapshot(scratch_ / "snapshot", {"--stop"});
  ASSERT_TRUE(taken && taken->status == 0) << (taken ? taken->output : taken.error().message());
  std::vector<double> to_reseed_us;
  std::vector<double> to_safe_us;
  std::vector<double> to_ack_us;
  std::vector<double> cold_us;
  for (int i = 0; i < restores(); ++i) {
    const auto clones = scratch_ / ("clone-" + std::to_string(i));
    auto restored =
        Restored::restore(scratch_ / "snapshot", clones, 1, {"--timeout", "110", "--wait", "safe"});
    ASSERT_TRUE(restored);
    to_ack_us.push_back(restored->reports()[0].at("safe_us").to_number<double>());
    const auto times =
        numbers(restored->guest(1).get("n=0; until [ -f /run/times ] || [ $n = 100 ]; do sleep "
                                       "0.1; n=$((n + 1)); done; cat /run/times"));
    ASSERT_EQ(times.size(), 3u);
    cold_us.push_back(times[2] / 1000);
    to_reseed_us.push_back(times[0] / 1000);
    to_safe_us.push_back(times[1] / 1000);
  }
  const std::string peer = "the clone's first fork + exec of /bin/true, median";
  const double peer_us = quantile(cold_us, 0.5);
  const auto add = [&](const char* name, double value, const char* unit,
                       std::optional<double> goal) {
    results.add({.name = name,
                 .value = value,
                 .unit = unit,
                 .peer = peer,
                 .peer_value = peer_us,
                 .goal = goal});
  };
  add("agent.run_to_rng_vs_forkexec", quantile(to_reseed_us, 0.99), "us, p99", 1);
  add("agent.run_to_rng_p50", quantile(to_reseed_us, 0.5), "us", {});
  add("agent.run_to_safe_p50", quantile(to_safe_us, 0.5), "us", {});
  add("agent.wake_to_ack_vs_forkexec", quantile(to_ack_us, 0.5),
      "us, p50, from the first vCPU's run to the host's having the report", 1.0 / 3);

  // The least that any agent could take, in clones of the same guest whose agent is dead.
  const WithoutAgent least = without_agent();
  ASSERT_FALSE(least.reseed_us.empty());
  results.add({.name = "agent.run_to_rng_vs_least",
               .value = quantile(to_reseed_us, 0.5),
               .unit = "us, p50",
               .peer = "a thread that waits for the kernel's line and has the generator reseeded",
               .peer_value = quantile(least.reseed_us, 0.5)});
  results.add({.name = "library.first_draw_in_clone_us",
               .value = quantile(least.first_draw_us, 0.5),
               .unit = "us, p50, page faults included"});
  const char* out = std::getenv("OUT");  // NOLINT(concurrency-mt-unsafe)
  ASSERT_TRUE(results.write(std::string(out == nullptr ? "." : out) + "/results.json"));
}

}  // namespace
}  // namespace clonesafe::lab
