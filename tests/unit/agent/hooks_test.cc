// The agent and its hooks: when they run, what they are told, and what their outcome means.
#include "guest_agent/hooks/hooks.h"

#include "tests/unit/agent/agent_fixture.h"

namespace clonesafe::agent {
namespace {

// Hooks that end when the test says so.
class FakeHooks : public Hooks {
 public:
  explicit FakeHooks(std::string name = {}) : name_(std::move(name)) {}
  bool any(const HookEvent&) override { return present; }
  void run(const HookEvent& event, Done done) override {
    told.push_back(name_ + std::string(name_of(event.phase)) + " " + event.cause);
    if (journal != nullptr) journal->push_back(told.back());
    done_ = std::move(done);
    if (at_once) end();
  }
  void cancel() override {
    if (done_ != nullptr) ++cancelled;
    done_ = nullptr;
  }
  void end(Outcome outcome = Outcome::kOk) {
    const Done done = std::exchange(done_, nullptr);
    ASSERT_NE(done, nullptr) << "nothing runs";
    done({{.name = "hook " + name_, .outcome = outcome, .us = 0, .detail = "as told"}});
  }
  bool running() const { return done_ != nullptr; }

  bool present = true;
  bool at_once = false;
  int cancelled = 0;
  std::vector<std::string> told;
  std::vector<std::string>* journal = nullptr;

 private:
  std::string name_;
  Done done_;
};

class HooksTest : public AgentTest {
 protected:
  HooksTest() { hooks_ = &fake_; }
  void boot() {
    start();
    welcome(1, RestoreKind::kBoot);
  }
  void clone(std::uint64_t generation = 20, std::uint8_t serial = 2) {
    pages_.write(RestoreKind::kClone, generation, serial);
    agent_->check("vsock");
  }
  void announce() { agent_->host_said(Prepare{.id = "s1", .deadline = kDeadline}); }
  std::string last() { return host_.lines.back(); }
  FakeHooks fake_;
};

TEST_F(HooksTest, BootIsNoRestore) {
  boot();
  EXPECT_TRUE(fake_.told.empty());
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
}

TEST_F(HooksTest, NothingIsSafeUntilTheHooksHaveEnded) {
  boot();
  const auto reports = host_.count("safe");
  clone();
  EXPECT_EQ(fake_.told, std::vector<std::string>{"after-restore clone"});
  EXPECT_NE(machine_id(), kOldMachineId);
  EXPECT_EQ(slot().state, CLONESAFE_STATE_REPAIRING);
  EXPECT_EQ(slot().generation, 20U);
  EXPECT_TRUE(agent_->status().hooks_running);
  welcome(2, RestoreKind::kClone);
  EXPECT_EQ(host_.count("safe"), reports);
  fake_.end();
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_EQ(host_.count("safe"), reports + 1);
  EXPECT_NE(last().find("hook "), std::string::npos) << last();
  EXPECT_FALSE(agent_->status().hooks_running);
}

TEST_F(HooksTest, HookThatFailsIsDegradedAndNotRetried) {
  boot();
  clone();
  fake_.end(Outcome::kFailed);
  EXPECT_EQ(slot().state, CLONESAFE_STATE_DEGRADED);
  EXPECT_NE(last().find("\"state\":\"degraded\""), std::string::npos) << last();
  EXPECT_FALSE(agent_->status().retrying);
}

TEST_F(HooksTest, RepairThatFailedIsRetriedWhileAFailedHookStays) {
  boot();
  kernel_.errors["reseed"] = EPERM;
  clone();
  fake_.end(Outcome::kFailed);
  EXPECT_TRUE(agent_->status().retrying);
  kernel_.errors.clear();
  ASSERT_TRUE(timers_.run_one_of(std::chrono::milliseconds(100)));
  EXPECT_EQ(slot().state, CLONESAFE_STATE_DEGRADED);
  EXPECT_EQ(fake_.told.size(), 1U);
}

TEST_F(HooksTest, RestoreDuringTheHooksStartsThemAgain) {
  boot();
  clone();
  const std::string first = machine_id();
  clone(30, 3);
  EXPECT_EQ(fake_.cancelled, 1);
  EXPECT_EQ(fake_.told.size(), 2U);
  EXPECT_NE(machine_id(), first);
  EXPECT_EQ(slot().state, CLONESAFE_STATE_REPAIRING);
  fake_.end();
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_EQ(slot().generation, 30U);
}

// A source that goes on keeps its identity; but its hooks never heard the end of the clone before.
TEST_F(HooksTest, CloneThatIsSnapshottedDuringItsHooksStillOwesThemThat) {
  boot();
  clone();
  const std::string identity = machine_id();
  pages_.write(RestoreKind::kResume, 20, 3);
  agent_->check("host");
  EXPECT_EQ(fake_.told.back(), "after-restore clone");
  EXPECT_EQ(machine_id(), identity);
  fake_.end();
  pages_.write(RestoreKind::kResume, 20, 4);
  agent_->check("host");
  EXPECT_EQ(fake_.told.back(), "after-restore resume");
}

TEST_F(HooksTest, RestoreThatNobodyWokeTheAgentForIsFoundAtTheirEnd) {
  boot();
  clone();
  pages_.write(RestoreKind::kClone, 30, 3);
  fake_.end();
  EXPECT_EQ(slot().generation, 30U);
  EXPECT_EQ(slot().state, CLONESAFE_STATE_REPAIRING);
  EXPECT_EQ(host_.count("safe"), 1U) << "of the boot";
  fake_.end();
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
}

TEST_F(HooksTest, AgentThatDiedDuringThemIsReplacedByOneThatRunsThem) {
  boot();
  clone();
  start();
  EXPECT_EQ(fake_.told.size(), 2U);
  EXPECT_EQ(fake_.told.back(), "after-restore clone");
  EXPECT_EQ(slot().state, CLONESAFE_STATE_REPAIRING);
}

TEST_F(HooksTest, BeforeASnapshotTheyEndBeforeAnythingIsFrozen) {
  boot();
  announce();
  EXPECT_EQ(fake_.told, std::vector<std::string>{"before-snapshot snapshot"});
  EXPECT_TRUE(thawed());
  EXPECT_EQ(host_.count("prepared"), 0U);
  fake_.end();
  EXPECT_FALSE(thawed());
  kernel_freezes();
  ASSERT_TRUE(timers_.run_one_of(kPoll));
  ASSERT_EQ(host_.count("prepared"), 1U);
  EXPECT_NE(last().find("hook "), std::string::npos);
  EXPECT_NE(last().find("freeze"), std::string::npos);
}

TEST_F(HooksTest, HookThatFailsBeforeASnapshotRefusesItAndIsUndone) {
  boot();
  announce();
  fake_.end(Outcome::kFailed);
  ASSERT_EQ(host_.count("prepared"), 1U);
  EXPECT_NE(last().find("\"ok\":false"), std::string::npos);
  EXPECT_NE(last().find("hook : as told"), std::string::npos) << last();
  EXPECT_TRUE(thawed());
  EXPECT_EQ(fake_.told.back(), "after-restore undone");
  // Until that has ended, nothing new is begun.
  announce();
  EXPECT_NE(last().find("still run"), std::string::npos) << last();
  fake_.end();
  announce();
  EXPECT_EQ(fake_.told.back(), "before-snapshot snapshot");
}

TEST_F(HooksTest, HooksThatTakeTooLongBeforeASnapshotRefuseIt) {
  boot();
  announce();
  ASSERT_TRUE(timers_.run_one_of(kDeadline));
  EXPECT_NE(last().find("the hooks had not ended within the deadline"), std::string::npos);
  EXPECT_EQ(fake_.cancelled, 1);
  EXPECT_EQ(fake_.told.back(), "after-restore undone");
}

TEST_F(HooksTest, EveryEndOfAPreparationIsToldOnce) {
  boot();
  const auto prepare = [this] {
    announce();
    fake_.end();
    kernel_freezes();
    timers_.run_one_of(kPoll);
    fake_.told.clear();
  };
  prepare();
  agent_->host_said(Abort{.id = "s1"});
  EXPECT_EQ(fake_.told, std::vector<std::string>{"after-restore undone"});
  fake_.end();

  prepare();
  pages_.write(RestoreKind::kResume, 10, 2);
  agent_->host_said(Resumed{.words = {.restore_id = id(2), .kind = RestoreKind::kResume}});
  EXPECT_EQ(fake_.told, std::vector<std::string>{"after-restore resume"});
  fake_.end();

  prepare();
  clone(20, 3);
  EXPECT_EQ(fake_.told, std::vector<std::string>{"after-restore clone"});
  fake_.end();
}

TEST_F(HooksTest, UnannouncedSnapshotInTheMiddleOfThemIsARestoreLikeAnother) {
  boot();
  announce();
  clone();
  EXPECT_EQ(fake_.cancelled, 1);
  EXPECT_EQ(fake_.told.back(), "after-restore clone");
  fake_.end();
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_EQ(host_.count("prepared"), 0U);
}

TEST_F(HooksTest, AgentThatDiedBetweenTheTwoHalvesIsReplacedByOneThatRunsTheSecond) {
  boot();
  announce();
  fake_.end();
  fake_.told.clear();
  start();
  EXPECT_EQ(fake_.told, std::vector<std::string>{"after-restore undone"});
  fake_.end();
  fake_.told.clear();
  start();
  EXPECT_TRUE(fake_.told.empty());
}

class TrimTest : public HooksTest {
 protected:
  TrimTest() {
    fake_.present = false;
    trim_ = &memory_;
  }
  void prepare() {
    boot();
    announce();
    EXPECT_FALSE(memory_.running()) << "nothing stands still yet";
    kernel_freezes();
    timers_.run_one_of(kPoll);
    EXPECT_TRUE(memory_.running());
    EXPECT_EQ(host_.count("prepared"), 0U);
  }
  FakeHooks memory_;
};

TEST_F(TrimTest, MemoryIsGivenBackOnceAllStandsStill) {
  prepare();
  memory_.end();
  ASSERT_EQ(host_.count("prepared"), 1U);
  EXPECT_NE(last().find("\"ok\":true"), std::string::npos);
  EXPECT_LT(last().find("\"freeze\""), last().find("\"hook \"")) << last();
  EXPECT_FALSE(thawed());
}

TEST_F(TrimTest, MemoryThatStaysIsReportedAndRefusesNothing) {
  prepare();
  memory_.end(Outcome::kFailed);
  EXPECT_NE(last().find("\"ok\":true"), std::string::npos);
  EXPECT_NE(last().find("\"failed\""), std::string::npos);
}

TEST_F(TrimTest, TooLongIsARefusalAndUndone) {
  prepare();
  ASSERT_TRUE(timers_.run_one_of(kDeadline));
  EXPECT_NE(last().find("memory was not given back within the deadline"), std::string::npos);
  EXPECT_EQ(memory_.cancelled, 1);
  EXPECT_TRUE(thawed());
}

TEST_F(TrimTest, RestoreInTheMiddleOfItRepairsAndThaws) {
  prepare();
  clone();
  EXPECT_EQ(memory_.cancelled, 1);
  EXPECT_TRUE(thawed());
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_EQ(host_.count("prepared"), 0U);
}

class FailClosedTest : public HooksTest {
 protected:
  void prepare_and_clone() {
    announce();
    fake_.end();
    kernel_freezes();
    timers_.run_one_of(kPoll);
    fake_.told.clear();
    clone();
  }
  static constexpr std::chrono::milliseconds kRetry{100}, kBeforePowerOff{200};
};

TEST_F(FailClosedTest, ContinuesIfSoConfigured) {
  boot();
  kernel_.errors["reseed"] = EPERM;
  prepare_and_clone();
  EXPECT_TRUE(thawed());
  EXPECT_EQ(fake_.told.size(), 1U);
  fake_.end();
  EXPECT_EQ(slot().state, CLONESAFE_STATE_DEGRADED);
  EXPECT_FALSE(timers_.run_one_of(kBeforePowerOff));
}

TEST_F(FailClosedTest, HeldWorkloadIsThawedWhenTheRepairSucceeds) {
  on_failure_ = FailurePolicy::kHold;
  boot();
  kernel_.errors["reseed"] = EPERM;
  prepare_and_clone();
  EXPECT_FALSE(thawed());
  EXPECT_TRUE(fake_.told.empty());
  EXPECT_TRUE(agent_->status().held);
  EXPECT_EQ(slot().state, CLONESAFE_STATE_DEGRADED);
  EXPECT_NE(last().find("\"state\":\"degraded\""), std::string::npos);
  ASSERT_TRUE(timers_.run_one_of(kRetry));
  EXPECT_FALSE(thawed());
  kernel_.errors.clear();
  ASSERT_TRUE(timers_.run_one_of(kRetry * 2));
  EXPECT_TRUE(thawed());
  EXPECT_EQ(fake_.told, std::vector<std::string>{"after-restore clone"});
  EXPECT_EQ(slot().state, CLONESAFE_STATE_REPAIRING);
  fake_.end();
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_FALSE(agent_->status().held);
}

TEST_F(FailClosedTest, WorkloadThatWasNotFrozenIsHeldToo) {
  on_failure_ = FailurePolicy::kHold;
  fake_.present = false;
  boot();
  kernel_.errors["reseed"] = EPERM;
  clone();
  EXPECT_FALSE(thawed());
  kernel_.errors.clear();
  ASSERT_TRUE(timers_.run_one_of(kRetry));
  EXPECT_TRUE(thawed());
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
}

TEST_F(FailClosedTest, RestoreOfAHeldMachineIsRepairedAndLetGo) {
  on_failure_ = FailurePolicy::kHold;
  boot();
  kernel_.errors["reseed"] = EPERM;
  clone();
  kernel_.errors.clear();
  clone(30, 3);
  EXPECT_TRUE(thawed());
  fake_.end();
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
}

TEST_F(FailClosedTest, PowersOffAfterTheReport) {
  on_failure_ = FailurePolicy::kPowerOff;
  boot();
  kernel_.errors["reseed"] = EPERM;
  clone();
  fake_.end();
  EXPECT_NE(last().find("\"state\":\"degraded\""), std::string::npos);
  EXPECT_EQ(powered_off_, 0);
  ASSERT_TRUE(timers_.run_one_of(kBeforePowerOff));
  EXPECT_EQ(powered_off_, 1);
}

TEST_F(FailClosedTest, HookThatFailsIsAFailureLikeAnother) {
  on_failure_ = FailurePolicy::kPowerOff;
  boot();
  clone();
  fake_.end(Outcome::kFailed);
  ASSERT_TRUE(timers_.run_one_of(kBeforePowerOff));
  EXPECT_EQ(powered_off_, 1);
}

TEST_F(FailClosedTest, BootIsNeverHeldNorPoweredOff) {
  for (const FailurePolicy policy : {FailurePolicy::kHold, FailurePolicy::kPowerOff}) {
    on_failure_ = policy;
    kernel_.errors["reseed"] = ENODATA;
    std::filesystem::remove(page_path_);
    start();
    EXPECT_EQ(slot().state, CLONESAFE_STATE_DEGRADED);
    EXPECT_TRUE(thawed());
    EXPECT_FALSE(agent_->status().held);
    EXPECT_FALSE(timers_.run_one_of(kBeforePowerOff));
    timers_.pending.clear();
  }
}

TEST(HookChain, GoesBackwardsBeforeASnapshot) {
  std::vector<std::string> journal;
  FakeHooks one("one "), two("two "), three("three ");
  two.present = false;
  HookChain chain;
  for (FakeHooks* const hooks : {&one, &two, &three}) {
    hooks->journal = &journal;
    hooks->at_once = true;
    chain.add(*hooks);
  }
  std::size_t results = 0;
  const auto count = [&](const std::vector<RepairResult>& given) { results = given.size(); };
  HookEvent event = {.phase = HookPhase::kAfterRestore, .cause = "clone", .restore = {}};
  EXPECT_TRUE(chain.any(event));
  chain.run(event, count);
  EXPECT_EQ(results, 3U);
  event = {.phase = HookPhase::kBeforeSnapshot, .cause = "snapshot", .restore = {}};
  chain.run(event, count);
  ASSERT_EQ(journal.size(), 6U);
  EXPECT_EQ(journal[0], "one after-restore clone");
  EXPECT_EQ(journal[2], "three after-restore clone");
  EXPECT_EQ(journal[3], "three before-snapshot snapshot");
  EXPECT_EQ(journal[5], "one before-snapshot snapshot");
}

}  // namespace
}  // namespace clonesafe::agent
