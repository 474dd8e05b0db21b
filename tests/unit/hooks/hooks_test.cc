// Hooks in cs_poll: order, results, deadlines, what they may do, and where they never run.
#include <gmock/gmock.h>
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <latch>
#include <stdexcept>
#include <thread>

#include "tests/unit/hooks/hook_fixture.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
// As in fork_test.cc: children of a process with threads may start threads.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() {
  return "die_after_fork=0";
}
#endif
#endif

namespace clonesafe::laboratory {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class HooksTest : public HookFixture {};

TEST_F(HooksTest, RunOnceForEachChange) {
  const Hook hook = after("a");
  EXPECT_EQ(poll(), 0);
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_EQ(poll(), 0);
  EXPECT_THAT(log_.take(), ElementsAre("a"));
  change();
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(log_.take(), ElementsAre("a"));
}

TEST_F(HooksTest, AfterHooksRunByPriorityAndRegistrationAndBeforeHooksTheOtherWayRound) {
  std::vector<Hook> hooks;
  for (const auto& [name, priority] :
       {std::pair{"user1", Priority::kUser}, std::pair{"ids", Priority::kIds},
        std::pair{"rng1", Priority::kRng}, std::pair{"connections", Priority::kConnections},
        std::pair{"crypto", Priority::kCrypto}, std::pair{"rng2", Priority::kRng},
        std::pair{"user2", Priority::kUser}}) {
    hooks.push_back(after(name, priority));
    hooks.push_back(before(name, priority));
  }
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(log_.take(),
              ElementsAre("rng1", "rng2", "ids", "crypto", "connections", "user1", "user2"));
  EXPECT_EQ(cs_before_snapshot(), CS_HOOK_OK);
  EXPECT_THAT(log_.take(),
              ElementsAre("user2", "user1", "connections", "crypto", "ids", "rng2", "rng1"));
}

TEST_F(HooksTest, AreToldWhatHappened) {
  cs_event told = {};
  const Hook hook = Hook::after_restore({}, [&](const cs_event& event) { told = event; });
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_EQ(told.phase, CS_PHASE_AFTER_RESTORE);
  EXPECT_EQ(told.kind, CS_KIND_RESTORE);
  EXPECT_EQ(told.changes, CS_CHANGED_GENERATION | CS_CHANGED_RESEED);
  EXPECT_EQ(told.old_generation, 1u);
  EXPECT_EQ(told.new_generation, 2u);
  EXPECT_EQ(told.number, 1u);
  EXPECT_EQ(told.attempt, 1u);
  resume();
  EXPECT_EQ(poll(), 1);
  EXPECT_EQ(told.kind, CS_KIND_RESUME);
  EXPECT_EQ(told.changes, CS_CHANGED_RESEED);
  EXPECT_EQ(told.old_generation, 2u);
  EXPECT_EQ(told.new_generation, 2u);
  EXPECT_EQ(told.number, 2u);
  EXPECT_EQ(cs_before_snapshot(), CS_HOOK_OK);
  EXPECT_EQ(cs_after_restore(), CS_HOOK_OK);
  EXPECT_EQ(told.kind, CS_KIND_UNDONE);
  EXPECT_EQ(told.changes, 0u);
  EXPECT_EQ(told.number, 4u);
}

TEST_F(HooksTest, ThatThrowFailClosedAndTheOthersRun) {
  const Hook first = Hook::after_restore({.name = "first"}, [](const cs_event&) {
    throw std::runtime_error("no route to the key server");
  });
  const Hook second = Hook::after_restore({.name = "second"}, [](const cs_event&) { throw 7; });
  const Hook third = after("third");
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(log_.take(), ElementsAre("third"));
  EXPECT_THAT(reports(),
              ElementsAre("first 2: no route to the key server",
                          "second 2: threw something that is no std::exception", "third 0"));
  EXPECT_EQ(cs_hooks_outcome(), CS_HOOK_FAIL_CLOSED);
  EXPECT_EQ(cs_before_snapshot(), CS_HOOK_OK);
  EXPECT_EQ(cs_hooks_outcome(), CS_HOOK_OK);
}

TEST_F(HooksTest, OfCThatReturnAnythingElseFailClosed) {
  cs_hook* hook = nullptr;
  const cs_hook_options options = {.function = [](const cs_event*, void*) { return CS_E_ENTROPY; },
                                   .name = "c"};
  ASSERT_EQ(cs_after_restore_hook(&options, &hook), 0);
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(reports(), ElementsAre("c 2: returned -3"));
  cs_hook_remove(hook);
}

TEST_F(HooksTest, ThatAskForARetryRunAgainAfterTheOthersThreeTimesInAll) {
  std::uint32_t attempts = 0;
  const Hook first = Hook::after_restore({.name = "second time"}, [&](const cs_event& event) {
    log_.add("first");
    return event.attempt == 1 ? HookResult::kRetry : HookResult::kOk;
  });
  const Hook second = Hook::after_restore({.name = "never"}, [&](const cs_event& event) {
    attempts = event.attempt;
    return HookResult::kRetry;
  });
  const Hook third = after("third");
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(log_.take(), ElementsAre("first", "third", "first"));
  EXPECT_EQ(attempts, 3u);
  EXPECT_THAT(reports(), ElementsAre("second time 0", "never 1", "third 0"));
  EXPECT_EQ(cs_hooks_outcome(), CS_HOOK_RETRY);
}

TEST_F(HooksTest, ThatUnregisterThemselvesRunOnce) {
  Hook hook;
  auto alive = std::make_shared<int>(1);
  hook = Hook::after_restore({}, [&, alive](const cs_event&) {
    hook = Hook();
    log_.add("once " + std::to_string(*alive));  // what it captured is still there
  });
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_EQ(alive.use_count(), 1) << "the function is gone once it has returned";
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(log_.take(), ElementsAre("once 1"));
}

TEST_F(HooksTest, ThatUnregisterAnotherKeepItFromRunning) {
  Hook second;
  const Hook first = Hook::after_restore({}, [&](const cs_event&) { second = Hook(); });
  second = after("second");
  const Hook third = after("third");
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(log_.take(), ElementsAre("third"));
  EXPECT_EQ(hooks_report().size(), 2u);
}

TEST_F(HooksTest, RegisteredInAHookRunFromTheNextEventOn) {
  std::vector<Hook> more;
  const Hook first = Hook::after_restore({}, [&](const cs_event&) {
    if (more.empty()) more.push_back(after("more", Priority::kUser));
  });
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(log_.take(), ElementsAre());
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(log_.take(), ElementsAre("more"));
}

TEST_F(HooksTest, RunAgainIfSomethingChangesWhileTheyRun) {
  std::vector<std::uint64_t> generations;
  const Hook first = Hook::after_restore({}, [&](const cs_event& event) {
    generations.push_back(event.new_generation);
    if (generations.size() == 1) change();
  });
  const Hook second = after("second");
  change();
  EXPECT_EQ(poll(), 2);
  EXPECT_THAT(generations, ElementsAre(2, 3));
  EXPECT_THAT(log_.take(), ElementsAre("second", "second"));
}

// The clone goes on in the middle of the hooks, which run again there.
TEST_F(HooksTest, RunAgainInACloneThatWasMadeWhileTheyRan) {
  Clones clones;
  std::vector<std::uint64_t> generations;
  const Hook hook = Hook::after_restore({}, [&](const cs_event& event) {
    generations.push_back(event.new_generation);
    if (generations.size() > 1) return;
    if (const int number = clones.spawn(1); number > 0)
      write_page_as_vmm({.generation = 70, .reseed_epoch = 70, .diversifier = 7});
  });
  change();
  const int handled = poll();
  if (clones.number() > 0) {
    EXPECT_EQ(handled, 2);
    EXPECT_THAT(generations, ElementsAre(2, 70));
    clones.finish({});
  }
  EXPECT_EQ(handled, 1);
  EXPECT_THAT(generations, ElementsAre(2));
  clones.collect();
}

TEST_F(HooksTest, AreNotRunForeverByOneThatChangesTheGeneration) {
  const Hook hook = Hook::after_restore({}, [&](const cs_event&) { change(); });
  change();
  EXPECT_EQ(poll(), 8);
  EXPECT_EQ(poll(), 8);
}

TEST_F(HooksTest, ThatTookLongerThanTheirDeadlineAreLate) {
  const Hook hook = Hook::after_restore(
      {.name = "slow", .deadline = std::chrono::milliseconds(1)}, [](const cs_event&) {
        const std::int64_t end = core::monotonic_now_ns() + 2'000'000;
        while (core::monotonic_now_ns() < end) continue;
      });
  const Hook second = after("second");
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(reports(), ElementsAre("slow 3: returned 0 after its deadline", "second 0"));
  EXPECT_THAT(log_.take(), ElementsAre("second"));
}

// Draws, stamps and everything else that merely notices must not run hooks: the caller may hold
// what a hook wants.
TEST_F(HooksTest, NeverRunInOtherCalls) {
  std::mutex held;
  const Hook hook = Hook::after_restore({}, [&](const cs_event&) {
    const std::lock_guard guard(held);
    log_.add("hook");
  });
  {
    const std::lock_guard guard(held);
    change();
    draw_many(3);
    cs_stamp stamp = {};
    EXPECT_EQ(cs_generation(&stamp), 0);
    EXPECT_EQ(cs_changed(&stamp), 0);
    status();
    Uuid::random();
    const Hook another = after("another");
    hooks_report();
    EXPECT_THAT(log_.take(), ElementsAre());
  }
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(log_.take(), ElementsAre("hook"));
}

TEST_F(HooksTest, MayDrawAndGetValuesOfTheNewGeneration) {
  Value inside = {};
  int changes = -1;
  GenerationStamp before;
  const Hook hook = Hook::after_restore({}, [&](const cs_event&) {
    inside = draw();
    changes = before.changes();
  });
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_NE(inside, Value{});
  EXPECT_EQ(changes, CS_CHANGED_GENERATION | CS_CHANGED_RESEED);
}

TEST_F(HooksTest, RefuseWhatWouldRunHooksInsideOfHooks) {
  std::vector<int> codes;
  const Hook hook = Hook::after_restore({}, [&](const cs_event&) {
    codes = {cs_poll(), cs_before_snapshot(), cs_after_restore(), cs_watch_start(nullptr),
             cs_watch_stop()};
  });
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(codes, ::testing::Each(CS_E_BUSY));
  EXPECT_EQ(codes.size(), 5u);
}

TEST_F(HooksTest, AreNotRunInsideOfADraw) {
  static int code;
  code = 0;
  const Hook hook = after("hook");
  change();
  core::seams_for_testing.stop = [](core::StopPoint point) {
    // As a signal handler that interrupts the draw.
    if (point == core::StopPoint::kAfterGenerate) code = cs_poll();
  };
  draw();
  core::seams_for_testing.stop = nullptr;
  EXPECT_EQ(code, CS_E_BUSY);
  EXPECT_THAT(log_.take(), ElementsAre());
}

TEST_F(HooksTest, UnregisteringWaitsForTheOneThatRuns) {
  std::latch running(1);
  std::latch go_on(1);
  std::atomic<bool> returned = false;
  std::atomic<bool> removing = false;
  Hook hook = Hook::after_restore({}, [&](const cs_event&) {
    running.count_down();
    go_on.wait();
    // The remover has either not come yet or waits; in no case has it gone on.
    EXPECT_FALSE(returned);
  });
  change();
  std::thread runner([] { EXPECT_EQ(poll(), 1); });
  running.wait();
  std::thread remover([&] {
    removing = true;
    hook = Hook();
    returned = true;
  });
  while (!removing) std::this_thread::yield();
  // Another thread's poll has nothing to do meanwhile.
  EXPECT_EQ(poll(), 0);
  go_on.count_down();
  remover.join();
  runner.join();
  EXPECT_TRUE(returned);
}

TEST_F(HooksTest, ThreadsThatRegisterPollAndUnregister) {
  std::atomic<int> runs = 0;
  std::vector<std::thread> threads;
  std::atomic<bool> stop = false;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        const Hook hook = Hook::after_restore({}, [&](const cs_event&) { ++runs; });
        (void)poll();
        draw();
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    change();
    (void)poll();
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  const Hook last = after("last");
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(reports(), ElementsAre("last 0"));
}

TEST_F(HooksTest, OfAParentRunInItsChildWhichPolls) {
  core::seams_for_testing.detect_forks = true;
  restart();
  hooks::registry().restart_for_testing();
  std::latch running(1);
  std::latch go_on(1);
  cs_event told = {};
  const Hook blocking = Hook::before_snapshot({.name = "before"}, [&](const cs_event&) {
    running.count_down();
    go_on.wait();
  });
  Hook hook = Hook::after_restore({.name = "after"}, [&](const cs_event& event) { told = event; });
  EXPECT_EQ(poll(), 0);
  // Another thread is in the middle of an event, which the child has nothing to do with.
  std::thread other([] { EXPECT_EQ(cs_before_snapshot(), CS_HOOK_OK); });
  running.wait();
  run_clones(1, [&](int) {
    EXPECT_EQ(poll(), 1);
    EXPECT_EQ(told.kind, CS_KIND_FORK);
    EXPECT_EQ(told.changes, CS_CHANGED_FORK | CS_CHANGED_RESEED);
    EXPECT_EQ(poll(), 0);
    hook = Hook();  // and can be unregistered
    return std::vector<Value>{};
  });
  go_on.count_down();
  other.join();
  EXPECT_EQ(told.kind, 0u);
}

TEST_F(HooksTest, Misuse) {
  cs_hook* hook = nullptr;
  cs_hook_options options = {};
  EXPECT_EQ(cs_after_restore_hook(nullptr, &hook), CS_E_INVALID);
  EXPECT_EQ(cs_after_restore_hook(&options, &hook), CS_E_INVALID);
  options.function = [](const cs_event*, void*) { return 0; };
  EXPECT_EQ(cs_after_restore_hook(&options, nullptr), CS_E_INVALID);
  options.priority = 5;
  EXPECT_EQ(cs_before_snapshot_hook(&options, &hook), CS_E_INVALID);
  options.priority = 0;
  options.reserved[1] = 1;
  EXPECT_EQ(cs_before_snapshot_hook(&options, &hook), CS_E_INVALID);
  EXPECT_EQ(hook, nullptr);
  cs_hook_remove(nullptr);
  EXPECT_EQ(cs_hooks_report(nullptr, sizeof(cs_hook_report), 1), CS_E_INVALID);
  EXPECT_EQ(cs_hooks_report(nullptr, 1, 0), CS_E_INVALID);
  EXPECT_EQ(cs_hooks_report(nullptr, sizeof(cs_hook_report), 0), 0);
  EXPECT_EQ(cs_watch_stop(), CS_E_INVALID);
  EXPECT_EQ(cs_watch_state(), CS_WATCH_OFF);
  const std::string longest(200, 'n');
  const Hook named = Hook::after_restore({.name = longest}, [](const cs_event& event) {
    std::memset(event.detail, 'd', CS_HOOK_DETAIL);  // without its zero
    return HookResult::kFailClosed;
  });
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_THAT(reports(), ElementsAre(std::string(CS_HOOK_NAME - 1, 'n') +
                                     " 2: " + std::string(CS_HOOK_DETAIL - 1, 'd')));
}

}  // namespace
}  // namespace clonesafe::laboratory
