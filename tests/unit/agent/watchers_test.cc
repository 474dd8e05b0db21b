#include "guest_agent/hooks/watchers.h"

#include "tests/unit/agent/agent_fixture.h"

namespace clonesafe::agent {
namespace {

constexpr std::chrono::milliseconds kPatience{5000};

class WatchersTest : public testing::Test {
 protected:
  struct Program {
    Watchers::Id id = 0;
    std::vector<std::string> heard;
    std::string last() const { return heard.empty() ? "nothing" : heard.back(); }
    // The id of the last event that wants an answer.
    std::string event() const {
      for (auto line = heard.rbegin(); line != heard.rend(); ++line) {
        const auto at = line->find("\"id\":\"");
        if (at != std::string::npos) return line->substr(at + 6, line->find('"', at + 6) - at - 6);
      }
      return {};
    }
  };
  std::unique_ptr<Program> join(const std::string& name, bool tracked) {
    auto program = std::make_unique<Program>();
    program->id = watchers_.add(
        {.name = name, .tracked = tracked, .push = [heard = &program->heard](std::string line) {
           heard->push_back(std::move(line));
         }});
    return program;
  }
  void run(const HookEvent& event) {
    ended_ = false;
    watchers_.run(event, [this](std::vector<RepairResult> results) {
      ended_ = true;
      results_ = std::move(results);
    });
  }
  static HookEvent restored(std::uint8_t serial = 2) {
    return {.phase = HookPhase::kAfterRestore,
            .cause = "clone",
            .restore = {.restore_id = id(serial), .generation = 20}};
  }

  ManualTimers timers_;
  Watchers watchers_{timers_, kPatience};
  bool ended_ = false;
  std::vector<RepairResult> results_;
};

TEST_F(WatchersTest, TrackedOnesAreWaitedForAndTheOthersHoldUpNothing) {
  const auto lazy = join("lazy", false);
  EXPECT_FALSE(watchers_.any(restored()));
  const auto proxy = join("proxy", true);
  EXPECT_TRUE(watchers_.any(restored()));
  run(restored());
  EXPECT_FALSE(ended_);
  EXPECT_EQ(lazy->last(), proxy->last());
  EXPECT_NE(proxy->last().find("\"event\":\"restored\""), std::string::npos) << proxy->last();
  EXPECT_NE(proxy->last().find("\"cause\":\"clone\""), std::string::npos);
  EXPECT_NE(proxy->last().find("\"generation\":\"14\""), std::string::npos) << proxy->last();
  ASSERT_TRUE(watchers_.ack(proxy->id, proxy->event(), ""));
  EXPECT_TRUE(ended_);
  ASSERT_EQ(results_.size(), 1U);
  EXPECT_EQ(results_[0].name, "watcher proxy");
  EXPECT_EQ(results_[0].outcome, Outcome::kOk);
}

TEST_F(WatchersTest, OneThatNeverAnswersIsAFailureAtTheDeadline) {
  const auto proxy = join("proxy", true);
  const auto database = join("database", true);
  run(restored());
  ASSERT_TRUE(watchers_.ack(proxy->id, proxy->event(), ""));
  ASSERT_TRUE(timers_.run_one_of(kPatience));
  ASSERT_TRUE(ended_);
  ASSERT_EQ(results_.size(), 2U);
  EXPECT_EQ(results_[0].outcome, Outcome::kOk);
  EXPECT_EQ(results_[1].outcome, Outcome::kFailed);
  EXPECT_EQ(results_[1].detail, "no answer within 5000 ms");
  EXPECT_EQ(watchers_.acks().missing, std::vector<std::string>{"database"});
  // Late, it still counts for whoever waits.
  ASSERT_TRUE(watchers_.ack(database->id, database->event(), ""));
  EXPECT_TRUE(watchers_.acks().missing.empty());
}

TEST_F(WatchersTest, WhatAWatcherSaysWentWrongIsItsFailure) {
  const auto proxy = join("proxy", true);
  run(restored());
  ASSERT_TRUE(watchers_.ack(proxy->id, proxy->event(), "no upstream"));
  ASSERT_EQ(results_.size(), 1U);
  EXPECT_EQ(results_[0].outcome, Outcome::kFailed);
  EXPECT_EQ(results_[0].detail, "no upstream");
}

TEST_F(WatchersTest, OneThatGoesAwayIsNotWaitedFor) {
  const auto proxy = join("proxy", true);
  run(restored());
  watchers_.remove(proxy->id);
  EXPECT_TRUE(ended_);
  EXPECT_TRUE(results_.empty());
}

TEST_F(WatchersTest, OnlyTheLastEventCanBeAcknowledged) {
  const auto proxy = join("proxy", true);
  run(restored());
  const std::string first = proxy->event();
  run(restored(3));
  EXPECT_FALSE(watchers_.ack(proxy->id, first, ""));
  EXPECT_FALSE(watchers_.ack(proxy->id, "99", ""));
  EXPECT_FALSE(watchers_.ack(12345, proxy->event(), ""));
  EXPECT_FALSE(ended_);
  // The first run's deadline is nothing to the second.
  ASSERT_TRUE(timers_.run_one_of(kPatience));
  EXPECT_FALSE(ended_);
  EXPECT_TRUE(watchers_.ack(proxy->id, proxy->event(), ""));
  EXPECT_TRUE(ended_);
}

TEST_F(WatchersTest, WaitEndsWithTheLastAnswerOrAtItsLimit) {
  std::vector<std::string> ends;
  const auto note = [&ends](const Watchers::Acks& acks) {
    ends.push_back(std::to_string(acks.missing.size()) + " of " + std::to_string(acks.tracked));
  };
  watchers_.wait(kPatience, note);
  ASSERT_EQ(ends, std::vector<std::string>{"0 of 0"});
  const auto proxy = join("proxy", true);
  const auto lazy = join("lazy", false);
  run(restored());
  watchers_.wait(std::chrono::milliseconds(1), note);
  watchers_.wait(std::chrono::milliseconds(2), note);
  EXPECT_EQ(ends.size(), 1U);
  ASSERT_TRUE(timers_.run_one_of(std::chrono::milliseconds(1)));
  EXPECT_EQ(ends.back(), "1 of 1");
  ASSERT_TRUE(watchers_.ack(proxy->id, proxy->event(), ""));
  EXPECT_EQ(ends.back(), "0 of 1");
  EXPECT_EQ(ends.size(), 3U);
  ASSERT_TRUE(timers_.run_one_of(std::chrono::milliseconds(2)));
  EXPECT_EQ(ends.size(), 3U);
}

TEST_F(WatchersTest, TooManyThatWaitAreAnsweredAtOnce) {
  const auto proxy = join("proxy", true);
  run(restored());
  int ends = 0;
  for (int i = 0; i < 300; ++i)
    watchers_.wait(kPatience, [&ends](const Watchers::Acks& acks) {
      EXPECT_EQ(acks.missing.size(), 1U);
      ++ends;
    });
  EXPECT_EQ(ends, 300 - 256);
}

// With the agent as it is.
class AgentWatchersTest : public AgentTest {
 protected:
  AgentWatchersTest() { hooks_ = &watchers_; }
  void boot() {
    start();
    agent_->on_change([this] { watchers_.observe(agent_->status()); });
    watchers_.observe(agent_->status());
    welcome(1, RestoreKind::kBoot);
  }
  Watchers::Id join(bool tracked) {
    return watchers_.add({.name = "program", .tracked = tracked, .push = [this](std::string line) {
                            heard_.push_back(line.substr(0, line.find(",\"restore_id")));
                          }});
  }
  std::size_t heard(const std::string& what) const {
    return static_cast<std::size_t>(std::count_if(
        heard_.begin(), heard_.end(),
        [&](const std::string& line) { return line.starts_with("{\"event\":\"" + what + "\""); }));
  }
  Watchers watchers_{timers_, kPatience};
  std::vector<std::string> heard_;
};

TEST_F(AgentWatchersTest, UntrackedHearsOfARestoreOnceAndOfItsEnd) {
  boot();
  join(false);
  EXPECT_TRUE(heard_.empty());
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("vsock");
  EXPECT_EQ(heard("restored"), 1U);
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  agent_->check("vsock");
  EXPECT_EQ(heard_.size(), 1U) << "it was safe before, and is again";
}

TEST_F(AgentWatchersTest, GuestIsSafeWhenTheTrackedHaveAcknowledged) {
  boot();
  const auto program = join(true);
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("vsock");
  EXPECT_EQ(heard("restored"), 1U);
  EXPECT_EQ(slot().state, CLONESAFE_STATE_REPAIRING);
  ASSERT_TRUE(watchers_.ack(program, "2", "")) << heard_.back();
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_EQ(heard_.back(), R"({"event":"state","state":"safe")");
}

TEST_F(AgentWatchersTest, SnapshotWaitsForThemToo) {
  boot();
  const auto program = join(true);
  agent_->host_said(Prepare{.id = "s1", .deadline = std::chrono::milliseconds(500)});
  EXPECT_EQ(heard("before_snapshot"), 1U);
  EXPECT_TRUE(thawed());
  ASSERT_TRUE(watchers_.ack(program, "2", "not now"));
  EXPECT_EQ(host_.count("prepared"), 1U);
  EXPECT_NE(host_.lines.back().find("watcher program: not now"), std::string::npos);
  EXPECT_EQ(heard("undone"), 1U);
}

TEST_F(AgentWatchersTest, SnapshotAnnouncedFromInsideIsAnsweredThere) {
  boot();
  std::vector<std::string> answers;
  const auto note = [&answers](const Status& outcome, const auto& steps) {
    answers.push_back(outcome ? "ok " + steps.back().name : outcome.error().message());
  };
  const Prepare announced = {.id = "local", .deadline = std::chrono::milliseconds(500)};
  EXPECT_FALSE(agent_->resume());
  agent_->prepare(announced, note);
  kernel_freezes();
  ASSERT_TRUE(timers_.run_one_of(std::chrono::milliseconds(1)));
  EXPECT_EQ(answers, std::vector<std::string>{"ok freeze"});
  agent_->prepare(announced, note);
  EXPECT_EQ(answers.back(), "the snapshot 'local' is being prepared");
  EXPECT_FALSE(thawed());
  EXPECT_TRUE(agent_->resume());
  EXPECT_TRUE(thawed());
  EXPECT_EQ(host_.count("prepared"), 0U);
}

}  // namespace
}  // namespace clonesafe::agent
