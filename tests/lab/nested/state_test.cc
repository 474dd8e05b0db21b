// What a guest has in flight comes back whole: registers, timers, interrupts, memory beyond 4 GiB.
#include <thread>

#include "tests/lab/nested/state_fixture.h"

namespace clonesafe::lab {
namespace {

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
