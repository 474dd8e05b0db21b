// A guest's clocks over a restore, CPU templates, and memory on both sides of the hole below 4 GiB.
#include <sstream>
#include <thread>

#include "tests/lab/nested/clone_fixture.h"

namespace clonesafe::lab {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

std::int64_t ns(auto duration) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
}
std::int64_t host_monotonic() {
  return ns(steady_clock::now().time_since_epoch());
}
std::int64_t host_realtime() {
  return ns(system_clock::now().time_since_epoch());
}
std::int64_t guest_clock(const Guest& guest, const std::string& function) {
  return std::stoll(guest.get("python3 -I -c 'import time; print(time." + function + "())'"));
}

constexpr std::int64_t kSecond = 1'000'000'000;
// An emulated processor's frequency is measured, not known.
constexpr std::int64_t kSlack = kSecond / 2;
// How long a snapshot lies, so that it shows in a clock that counts it.
constexpr auto kRest = std::chrono::seconds(5);

class TimeTest : public CloneTest, public testing::WithParamInterface<const char*> {
 protected:
  std::unique_ptr<BootedVm> boot_with_clocksource(const std::string& cmdline) {
    auto vm = boot({.cmdline = cmdline + " tsc=reliable clocksource=" + GetParam(), .cpus = 2});
    if (vm) expect_clocksource(vm->guest());
    return vm;
  }
  static void expect_clocksource(const Guest& guest) {
    EXPECT_EQ(guest.get("cat /sys/devices/system/clocksource/clocksource0/current_clocksource"),
              GetParam());
  }
};

// Without an agent: when it steps the wall clock, the kernel takes the counter as it then is for
// its last reading, and a counter that came back too small is healed.
TEST_P(TimeTest, MonotonicClockGoesOn) {
  auto vm = boot_with_clocksource(kNoAgent);
  ASSERT_TRUE(vm);
  const std::int64_t host_before = host_monotonic();
  const std::int64_t before = guest_clock(vm->guest(), "monotonic_ns");
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);

  const std::int64_t rest_start = host_monotonic();
  std::this_thread::sleep_for(kRest);
  const std::int64_t rest = host_monotonic() - rest_start;
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1,
                                    {"--timeout", "110", "--wait", "running"});
  ASSERT_TRUE(restored);
  const Guest clone = restored->guest(1);
  const std::int64_t host_running = host_monotonic();
  std::this_thread::sleep_for(kRest);

  const std::int64_t host_start = host_monotonic();
  const std::int64_t after = guest_clock(clone, "monotonic_ns");
  const std::int64_t host_after = host_monotonic();
  EXPECT_LE(after - before, host_after - host_before - rest + kSlack)
      << "the time that the snapshot lay was counted";
  // A counter that came back too small lets the kernel hold its clock until it has caught up.
  EXPECT_GE(after - before, host_start - host_running - kSlack)
      << "the clock stood still in the clone";
  EXPECT_EQ(clone.get("dmesg | grep -ciE 'unstable|soft lockup|time went backwards'; true"), "0");
  expect_clocksource(clone);
}

TEST_P(TimeTest, WallClockIsRightOnceSafe) {
  auto vm = boot_with_clocksource(kNoProbes);
  ASSERT_TRUE(vm);
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  std::this_thread::sleep_for(kRest);
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1,
                                    {"--timeout", "110", "--wait", "safe"});
  ASSERT_TRUE(restored);
  expect_repaired(*restored);
  const std::int64_t real_before = host_realtime();
  const std::int64_t real = guest_clock(restored->guest(1), "time_ns");
  const std::int64_t real_after = host_realtime();
  EXPECT_GE(real, real_before - kSecond);
  EXPECT_LE(real, real_after + kSecond);
  expect_clocksource(restored->guest(1));
}

INSTANTIATE_TEST_SUITE_P(, TimeTest, testing::Values("tsc", "kvm-clock"),
                         [](const auto& parameter) {
                           return std::string(parameter.param) == "tsc" ? "Tsc" : "KvmClock";
                         });

TEST_F(CloneTest, GuestOfATemplateSeesItsLevelBeforeAndAfterARestore) {
  auto vm = boot({.arguments = {"--cpu-template", "x86-64-v2"}, .cmdline = kNoAgent, .cpus = 2});
  ASSERT_TRUE(vm);
  // The number of processors that have it.
  const auto with = [](const Guest& guest, const std::string& flag) {
    return guest.get("grep -cw " + flag + " /proc/cpuinfo; true");
  };
  const auto expect_v2 = [&](const Guest& guest) {
    for (const char* flag : {"sse4_2", "cx16", "popcnt", "lahf_lm", "nx"})
      EXPECT_EQ(with(guest, flag), "2") << flag;
    for (const char* flag : {"avx", "avx2", "xsave", "bmi1", "movbe"})
      EXPECT_EQ(with(guest, flag), "0") << flag;
  };
  expect_v2(vm->guest());
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1);
  ASSERT_TRUE(restored);
  expect_v2(restored->guest(1));
}

// Sparse: the host has far less.
TEST_F(CloneTest, MemoryOnBothSidesOfTheHoleComesBack) {
  auto vm = boot({.cmdline = kNoAgent, .memory = "5G"});
  ASSERT_TRUE(vm);
  const Guest source = vm->guest();
  EXPECT_NE(source.get("grep -i '100000000-17fffffff : System RAM' /proc/iomem"), "");
  // The page allocator takes high memory first.
  source.get("head -c 16777216 /dev/urandom >/tmp/pattern");
  const std::string digest = source.get("sha256sum /tmp/pattern");
  const auto taken = source.snapshot(scratch_ / "snapshot", {"--stop"});
  ASSERT_TRUE(taken) << taken.error().message();
  ASSERT_EQ(taken->status, 0) << taken->output;
  auto restored =
      Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1, {"--timeout", "200"});
  ASSERT_TRUE(restored);
  EXPECT_EQ(restored->guest(1).get("sha256sum /tmp/pattern"), digest);
}

TEST_F(CloneTest, GuestOf16GibibytesBoots) {
  auto vm = boot({.cmdline = kNoAgent, .cpus = 8, .memory = "16G"});
  ASSERT_TRUE(vm);
  EXPECT_GT(
      std::stoll(vm->guest().get("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")),
      15'000'000);
  EXPECT_EQ(vm->guest().get("nproc"), "8");
}

}  // namespace
}  // namespace clonesafe::lab
