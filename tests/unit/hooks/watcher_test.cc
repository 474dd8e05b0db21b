// The watcher thread: without an agent, and with a scripted one.
#include <gmock/gmock.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <latch>
#include <thread>

#include "tests/unit/hooks/fake_agent.h"
#include "tests/unit/hooks/hook_fixture.h"

namespace clonesafe::laboratory {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class WatcherTest : public HookFixture {
 protected:
  WatcherTest() : agent_path_(folder_ + "/agent.sock") {}

  static void until(const std::function<bool()>& reached) {
    while (!reached()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  const std::string agent_path_;
  const cs_watch_options alone_ = {.interval_ms = 1, .without_agent = 1};
  const cs_watch_options with_agent_ = {.interval_ms = 1};
};

TEST_F(WatcherTest, RunsHooksWithoutAnAgentAndWithoutAPoll) {
  sigset_t blocked;
  const Hook hook = Hook::after_restore({}, [&](const cs_event& event) {
    (void)::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    log_.add("generation " + std::to_string(event.new_generation));
  });
  const Watch watch(alone_);
  EXPECT_EQ(cs_watch_state(), CS_WATCH_ALONE);
  change();
  EXPECT_THAT(log_.take(1), ElementsAre("generation 2"));
  change();
  EXPECT_THAT(log_.take(1), ElementsAre("generation 3"));
  EXPECT_EQ(sigismember(&blocked, SIGUSR1), 1) << "the program's signals are the program's";
}

TEST_F(WatcherTest, LeavesNothingToPoll) {
  const Hook hook = after("hook");
  {
    // It looks when it is woken to end, if at all.
    const Watch watch({.interval_ms = 3'600'000, .without_agent = 1});
    change();
    EXPECT_EQ(poll(), 0);
    EXPECT_THAT(log_.take(), ElementsAre());
  }
  EXPECT_EQ(cs_watch_state(), CS_WATCH_OFF);
  (void)poll();
  EXPECT_THAT(log_.take(), ElementsAre("hook"));
}

TEST_F(WatcherTest, IsCounted) {
  ASSERT_EQ(cs_watch_start(&alone_), 0);
  ASSERT_EQ(cs_watch_start(nullptr), 0);
  EXPECT_EQ(cs_watch_stop(), 0);
  EXPECT_EQ(cs_watch_state(), CS_WATCH_ALONE);
  EXPECT_EQ(cs_watch_stop(), 0);
  EXPECT_EQ(cs_watch_state(), CS_WATCH_OFF);
  EXPECT_EQ(cs_watch_stop(), CS_E_INVALID);
  cs_watch_options wrong = alone_;
  wrong.reserved[0] = 1;
  EXPECT_EQ(cs_watch_start(&wrong), CS_E_INVALID);
}

TEST_F(WatcherTest, LeavesAHookThatHangsAndGoesOnWithTheOthers) {
  std::latch go_on(1);
  std::atomic<int> runs = 0;
  Hook hangs = Hook::after_restore(
      {.name = "hangs", .priority = Priority::kRng, .deadline = std::chrono::milliseconds(1)},
      [&](const cs_event&) {
        ++runs;
        go_on.wait();
      });
  const Hook other = after("other");
  {
    const Watch watch(alone_);
    change();
    EXPECT_THAT(log_.take(1), ElementsAre("other"));
    until([] { return cs_hooks_outcome() == CS_HOOK_LATE; });
    EXPECT_THAT(reports(), ElementsAre("hangs 3: did not return within its deadline", "other 0"));
    // Another event comes while it still hangs.
    change();
    EXPECT_THAT(log_.take(1), ElementsAre("other"));
    until([] { return hooks_report().at(0).event == 2; });
    EXPECT_THAT(reports(),
                ElementsAre("hangs 3: has not returned since an event before", "other 0"));
    EXPECT_EQ(runs, 1);
  }
  // The thread has ended, the hook has not: to unregister waits for it.
  std::atomic<bool> gone = false;
  std::thread remover([&] {
    hangs = Hook();
    gone = true;
  });
  EXPECT_FALSE(gone);
  go_on.count_down();
  remover.join();
}

TEST_F(WatcherTest, RetriesAfterAPause) {
  std::atomic<std::uint32_t> attempts = 0;
  const Hook hook = Hook::after_restore({}, [&](const cs_event& event) {
    attempts = event.attempt;
    log_.add("attempt");
    return event.attempt < 3 ? HookResult::kRetry : HookResult::kOk;
  });
  const Watch watch(alone_);
  change();
  EXPECT_THAT(log_.take(3).size(), 3u);
  until([] { return cs_hooks_report(nullptr, sizeof(cs_hook_report), 0) == 1; });
  EXPECT_EQ(cs_hooks_outcome(), CS_HOOK_OK);
}

TEST_F(WatcherTest, IsNotInAChildWhichPollsOrStartsItsOwn) {
  core::seams_for_testing.detect_forks = true;
  restart();
  hooks::registry().restart_for_testing();
  FakeAgent agent(agent_path_);
  const Hook hook = Hook::after_restore(
      {}, [&](const cs_event& event) { log_.add("kind " + std::to_string(event.kind)); });
  {
    const Watch watch(with_agent_);
    agent.take_watcher();
    until([] { return cs_watch_state() == CS_WATCH_TRACKED; });
    run_clones(1, [&](int) {
      EXPECT_EQ(cs_watch_state(), CS_WATCH_OFF);
      EXPECT_EQ(cs_watch_stop(), CS_E_INVALID);
      EXPECT_EQ(poll(), 1);
      EXPECT_THAT(log_.take(), ElementsAre("kind 7"));
      const Watch own(alone_);
      write_page_as_vmm({.generation = 70, .reseed_epoch = 70, .diversifier = 7});
      EXPECT_THAT(log_.take(1), ElementsAre("kind 2"));
      return std::vector<Value>{};
    });
    // The child that lives on doesn't hold the connection open.
    const pid_t child = ::fork();
    if (child == 0) {
      ::pause();
      ::_exit(0);
    }
    EXPECT_EQ(cs_watch_stop(), 0);
    EXPECT_EQ(agent.hear(), "") << "the connection ends with the watcher";
    ::kill(child, SIGKILL);
    EXPECT_EQ(::waitpid(child, nullptr, 0), child);
    ASSERT_EQ(cs_watch_start(&alone_), 0);
  }
}

TEST_F(WatcherTest, BeforeHooksRunAtTheAgentsWordAndAreAnswered) {
  FakeAgent agent(agent_path_);
  const Hook first = before("first");
  const Hook second = before("second");
  const Hook back = Hook::after_restore(
      {}, [&](const cs_event& event) { log_.add("after " + std::to_string(event.kind)); });
  const Watch watch(with_agent_);
  agent.take_watcher();
  agent.say(FakeAgent::event("before_snapshot", 4, "snapshot"));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(4));
  EXPECT_THAT(log_.take(), ElementsAre("second", "first"));
  EXPECT_EQ(cs_watch_state(), CS_WATCH_TRACKED);
  agent.say(R"({"acknowledged":true})");
  agent.say(FakeAgent::event("undone", 5, "undone"));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(5));
  EXPECT_THAT(log_.take(), ElementsAre("after 6"));
  // Without a page that moves, the agent's word is enough.
  agent.say(FakeAgent::event("before_snapshot", 6, "snapshot"));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(6));
  agent.say(FakeAgent::event("restored", 7, "resume"));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(7));
  EXPECT_THAT(log_.take(), ElementsAre("second", "first", "after 5"));
}

TEST_F(WatcherTest, AfterHooksRunWhenTheAgentHasRepairedTheMachine) {
  core::seams_for_testing.agent_grace_ms = 3'600'000;
  FakeAgent agent(agent_path_);
  cs_event told = {};
  const Hook hook = Hook::after_restore({}, [&](const cs_event& event) {
    told = event;
    log_.add("hook");
  });
  const Watch watch(with_agent_);
  agent.take_watcher();
  until([] { return cs_watch_state() == CS_WATCH_TRACKED; });
  change();
  // The page moved; the agent still repairs. It has something else to say meanwhile.
  agent.say(FakeAgent::event("undone", 1, "undone"));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(1));
  log_.take();
  change();
  agent.say(FakeAgent::event("restored", 2, "clone", "3"));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(2));
  EXPECT_THAT(log_.take(), ElementsAre("hook"));
  EXPECT_EQ(told.kind, CS_KIND_CLONE);
  EXPECT_EQ(told.new_generation, 3u);
  // Said again, by an agent that was restarted for one.
  agent.say(FakeAgent::event("restored", 3, "clone", "3"));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(3));
  EXPECT_THAT(log_.take(), ElementsAre());
}

TEST_F(WatcherTest, DoesNotWaitForAnAgentThatSaysNothing) {
  core::seams_for_testing.agent_grace_ms = 5;
  FakeAgent agent(agent_path_);
  const Hook hook = after("hook");
  const Watch watch(with_agent_);
  agent.take_watcher();
  change();
  EXPECT_THAT(log_.take(1), ElementsAre("hook"));
}

TEST_F(WatcherTest, WithoutAPageTheAgentsWordIsWhatHappened) {
  remove_page();
  restart();
  hooks::registry().restart_for_testing();
  FakeAgent agent(agent_path_);
  cs_event told = {};
  const Hook hook = Hook::after_restore({}, [&](const cs_event& event) {
    told = event;
    log_.add("hook");
  });
  const Watch watch(with_agent_);
  agent.take_watcher(R"({"tier":"lagging","kind":"boot","generation":"a","restore_id":")" +
                     std::string(32, '0') + "\"}");
  agent.say(FakeAgent::event("restored", 2, "clone", "b"));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(2));
  EXPECT_THAT(log_.take(), ElementsAre("hook"));
  EXPECT_EQ(told.kind, CS_KIND_CLONE);
  EXPECT_EQ(told.old_generation, 10u);
  EXPECT_EQ(told.new_generation, 11u);
  EXPECT_EQ(told.restore_id[0], 0x11);
  EXPECT_EQ(told.changes, CS_CHANGED_GENERATION | CS_CHANGED_RESEED);
}

TEST_F(WatcherTest, FailuresAreReportedToTheAgent) {
  FakeAgent agent(agent_path_);
  const Hook failing = Hook::before_snapshot({.name = "pool"}, [](const cs_event&) {
    throw std::runtime_error("can't \"park\"\n" + std::string(100, 'x'));
  });
  Hook retrying =
      Hook::after_restore({.name = "lease"}, [](const cs_event&) { return HookResult::kRetry; });
  const Watch watch(with_agent_);
  agent.take_watcher();
  agent.say(FakeAgent::event("before_snapshot", 1, "snapshot"));
  EXPECT_EQ(agent.hear(),
            FakeAgent::ack(1, "hook pool: can't 'park''" + std::string(64 - 24, 'x')));
  agent.say(FakeAgent::event("restored", 2, "clone"));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(2, "hook lease: not ready after retries"));
}

TEST_F(WatcherTest, TheAgentIsToldWhenTheDeadlineForAllIsOverAndTheHooksStillRun) {
  FakeAgent agent(agent_path_);
  std::latch go_on(1);
  const Hook slow = Hook::before_snapshot({.name = "slow", .deadline = std::chrono::hours(1)},
                                          [&](const cs_event&) { go_on.wait(); });
  const Hook first = Hook::before_snapshot({.name = "first"}, [&](const cs_event&) {});
  const Hook last = before("last", Priority::kRng);
  const Watch watch({.interval_ms = 1, .deadline_ms = 5});
  agent.take_watcher();
  agent.say(FakeAgent::event("before_snapshot", 1, "snapshot"));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(1, "the hooks have not ended in time"));
  go_on.count_down();
  EXPECT_THAT(log_.take(1), ElementsAre("last"));
  EXPECT_THAT(agent.hear(), HasSubstr(R"("id":"1","error":)"));
  EXPECT_EQ(cs_hooks_outcome(), CS_HOOK_LATE);
}

TEST_F(WatcherTest, WhoMayNotBeWaitedForIsToldAllTheSame) {
  FakeAgent agent(agent_path_);
  const Hook hook = before("before");
  const Watch watch(with_agent_);
  agent.accept();
  EXPECT_EQ(agent.hear(), R"({"command":"watch","name":"hooks_test","tracked":true})");
  agent.say(R"({"error":"only root or the configured group may be waited for"})");
  EXPECT_EQ(agent.hear(), R"({"command":"watch","name":"hooks_test","tracked":false})");
  agent.say(R"({"watching":true})");
  EXPECT_EQ(agent.hear(), R"({"command":"status"})");
  agent.say(FakeAgent::event("before_snapshot", 1, "snapshot"));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(1));
  EXPECT_EQ(cs_watch_state(), CS_WATCH_UNTRACKED);
  EXPECT_THAT(log_.take(), ElementsAre("before"));
}

TEST_F(WatcherTest, ConnectsAgainWhenTheAgentIsRestartedAndUndoesWhatWasAnnounced) {
  core::seams_for_testing.agent_retry_ms = 1;
  auto agent = std::make_unique<FakeAgent>(agent_path_);
  const Hook hook = Hook::after_restore(
      {}, [&](const cs_event& event) { log_.add("after " + std::to_string(event.kind)); });
  const Watch watch(with_agent_);
  const auto status = [](char restore) {
    return R"({"tier":"word","kind":"clone","generation":"5","restore_id":")" +
           std::string(32, restore) + "\"}";
  };
  agent->take_watcher(status('7'));
  agent->say(FakeAgent::event("before_snapshot", 1, "snapshot"));
  EXPECT_EQ(agent->hear(), FakeAgent::ack(1));
  EXPECT_THAT(log_.take(), ElementsAre());
  agent->end();
  EXPECT_THAT(log_.take(1), ElementsAre("after 6"));
  agent->listen();
  // The same restore as before: nothing to do. Then the next one finds that it missed one.
  agent->take_watcher(status('7'));
  agent->say("this is no JSON");
  EXPECT_EQ(agent->hear(), "") << "who doesn't speak the protocol is left";
  EXPECT_THAT(log_.take(), ElementsAre());
  agent->take_watcher(status('8'));
  EXPECT_THAT(log_.take(1), ElementsAre("after 3"));
}

TEST_F(WatcherTest, SecondChangeDuringTheHooksRunsThemAgain) {
  FakeAgent agent(agent_path_);
  std::latch running(1);
  std::latch go_on(1);
  const Hook hook = Hook::after_restore({}, [&](const cs_event& event) {
    log_.add("generation " + std::to_string(event.new_generation));
    running.count_down();
    go_on.wait();
  });
  const Watch watch(with_agent_);
  agent.take_watcher();
  change();
  agent.say(FakeAgent::event("restored", 1, "clone", "2"));
  running.wait();
  change();
  agent.say(FakeAgent::event("restored", 2, "clone", "3", '2'));
  go_on.count_down();
  EXPECT_EQ(agent.hear(), FakeAgent::ack(1));
  EXPECT_EQ(agent.hear(), FakeAgent::ack(2));
  EXPECT_THAT(log_.take(), ElementsAre("generation 2", "generation 3"));
}

}  // namespace
}  // namespace clonesafe::laboratory
