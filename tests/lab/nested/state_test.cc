// What a guest has in flight comes back whole: registers, timers, interrupts, memory beyond 4 GiB.
#include <charconv>
#include <map>
#include <sstream>
#include <thread>

#include "tests/lab/nested/clone_fixture.h"

namespace clonesafe::lab {
namespace {

constexpr int kProcessors = 4;

using Counts = std::map<std::string, std::uint64_t>;

class StateTest : public CloneTest {
 protected:
  // `guest_state report` of a guest; nothing in it may have gone wrong.
  static Counts counts_of(const Guest& guest) {
    Counts counts;
    const std::string report = guest.get("guest_state report");
    std::istringstream lines(report);
    std::string name;
    std::uint64_t count = 0;
    while (lines >> name >> count) counts[name] = count;
    EXPECT_EQ(counts["errors"], 0u) << report;
    return counts;
  }

  // Waits until everything that moves has moved on from `before`; the test fails if something
  // stands still.
  static Counts await_progress(const Guest& guest, const Counts& before) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (;;) {
      const Counts now = counts_of(guest);
      std::string still;
      for (const auto& [name, count] : before) {
        const auto found = now.find(name);
        if (name != "errors" && (found == now.end() || found->second <= count)) still += " " + name;
      }
      if (still.empty() || testing::Test::HasFailure()) return now;
      if (std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << "stands still:" << still;
        return now;
      }
    }
  }

  static void take(const Guest& guest, const std::filesystem::path& to, const std::string& then) {
    const auto taken = guest.snapshot(to, {then});
    ASSERT_TRUE(taken) << taken.error().message();
    ASSERT_EQ(taken->status, 0) << taken->output;
  }

  // All that guest_state counts on that many processors.
  static Counts nothing_yet() {
    Counts counts = {{"barriers", 0}, {"traps", 0}};
    for (int i = 0; i < kProcessors; ++i) {
      for (const char* name : {"registers.", "timers.", "wakes."})
        counts[name + std::to_string(i)] = 0;
    }
    return counts;
  }
};

TEST_F(StateTest, RegistersTimersAndInterruptsOfFourProcessorsGoOn) {
  auto vm = boot({.cmdline = kNoAgent, .cpus = kProcessors});
  ASSERT_TRUE(vm);
  vm->guest().get("guest_state run " + std::to_string(kProcessors) +
                  " </dev/null >/dev/null 2>&1 &");
  Counts counts = await_progress(vm->guest(), nothing_yet());
  ASSERT_FALSE(HasFailure());

  // At moments of the source, and then of a clone of a clone.
  for (int moment = 0; moment < 2; ++moment) {
    const std::string name = "source" + std::to_string(moment);
    ASSERT_NO_FATAL_FAILURE(take(vm->guest(), scratch_ / name, "--resume"));
    await_progress(vm->guest(), counts_of(vm->guest()));
    auto restored = Restored::restore(scratch_ / name, scratch_ / (name + ".run"), 1);
    ASSERT_TRUE(restored);
    // The clone can't be behind what the source had counted before the snapshot.
    counts = await_progress(restored->guest(1), counts);
    ASSERT_FALSE(HasFailure()) << name;
    restored->process().signal(SIGTERM);
    ASSERT_TRUE(restored->process().wait(Seconds(60)));
  }
  ASSERT_NO_FATAL_FAILURE(take(vm->guest(), scratch_ / "first", "--stop"));
  auto first = Restored::restore(scratch_ / "first", scratch_ / "first.run", 1);
  ASSERT_TRUE(first);
  counts = await_progress(first->guest(1), counts);
  ASSERT_NO_FATAL_FAILURE(take(first->guest(1), scratch_ / "second", "--stop"));
  auto second = Restored::restore(scratch_ / "second", scratch_ / "second.run", 1);
  ASSERT_TRUE(second);
  await_progress(second->guest(1), counts);
}

}  // namespace
}  // namespace clonesafe::lab
