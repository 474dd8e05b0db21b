#include "guest_agent/core/agent.h"

#include "guest_agent/base/digest.h"
#include "tests/unit/agent/agent_fixture.h"

namespace clonesafe::agent {
namespace {

TEST_F(AgentTest, BootSeedsTheKernelAndLeavesIdentityAlone) {
  start();
  EXPECT_EQ(agent_->status().state, CLONESAFE_STATE_SAFE);
  EXPECT_EQ(agent_->status().kind, RestoreKind::kBoot);
  EXPECT_EQ(reseeds(), 1);
  EXPECT_EQ(machine_id(), kOldMachineId);
  const clonesafe_generation_slot published = slot();
  EXPECT_EQ(published.generation, 10U);
  EXPECT_EQ(published.state, CLONESAFE_STATE_SAFE);
  EXPECT_EQ(published.tier, CLONESAFE_TIER_LAGGING);
  EXPECT_NE(published.kernel_rng_epoch, 0U);
}

TEST_F(AgentTest, DiversifierComesFromTheSeedAsTheVmmDerivesIt) {
  start();
  const auto expected = diversifier_from_seed(bytes32(0x81));
  ASSERT_TRUE(expected);
  const clonesafe_generation_slot published = slot();
  EXPECT_EQ(hex(published.diversifier), hex(*expected));
}

TEST_F(AgentTest, CloneGetsSeedEpochAndIdentity) {
  start();
  const auto epoch = slot().kernel_rng_epoch;
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("test");
  EXPECT_EQ(agent_->status().kind, RestoreKind::kClone);
  EXPECT_EQ(agent_->status().woken_by, "test");
  EXPECT_EQ(reseeds(), 2);
  EXPECT_NE(machine_id(), kOldMachineId);
  const clonesafe_generation_slot published = slot();
  EXPECT_EQ(published.generation, 20U);
  EXPECT_EQ(published.state, CLONESAFE_STATE_SAFE);
  EXPECT_NE(published.kernel_rng_epoch, epoch);
  EXPECT_EQ(hex(published.restore_id), hex(id(2)));
  EXPECT_TRUE(is_zero(pages_.seed().seed));
}

TEST_F(AgentTest, PageSaysRepairingWhileRepairsRun) {
  start();
  std::vector<std::uint32_t> states;
  kernel_.during = [&](const std::string&) { states.push_back(slot().state); };
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("test");
  ASSERT_FALSE(states.empty());
  for (const std::uint32_t state : states) EXPECT_EQ(state, CLONESAFE_STATE_REPAIRING);
}

TEST_F(AgentTest, ResumedSourceReseedsAndKeepsItsIdentity) {
  start();
  pages_.write(RestoreKind::kResume, 10, 2);
  agent_->check("test");
  EXPECT_EQ(agent_->status().kind, RestoreKind::kResume);
  EXPECT_EQ(reseeds(), 2);
  EXPECT_EQ(machine_id(), kOldMachineId);
}

TEST_F(AgentTest, MovedMachineKeepsItsIdentity) {
  start();
  pages_.write(RestoreKind::kMove, 10, 2);
  agent_->check("test");
  EXPECT_EQ(agent_->status().kind, RestoreKind::kMove);
  EXPECT_EQ(machine_id(), kOldMachineId);
}

TEST_F(AgentTest, CloneThatWasSnapshottedBeforeItsRepairIsStillAClone) {
  start();
  // The clone (generation 20) never ran its agent; its snapshot's source went on.
  pages_.write(RestoreKind::kResume, 20, 3);
  agent_->check("test");
  EXPECT_EQ(agent_->status().kind, RestoreKind::kClone);
  EXPECT_NE(machine_id(), kOldMachineId);
}

TEST_F(AgentTest, WakeWithoutNewsDoesNothing) {
  start();
  for (int i = 0; i < 5; ++i) agent_->check("kmsg");
  EXPECT_EQ(reseeds(), 1);
  EXPECT_EQ(agent_->status().restores, 0U);
}

TEST_F(AgentTest, SeveralWakesForOneRestoreRepairItOnce) {
  start();
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("kmsg");
  agent_->check("vsock");
  agent_->check("poll");
  EXPECT_EQ(agent_->status().restores, 1U);
  EXPECT_EQ(reseeds(), 2);
}

TEST_F(AgentTest, RestoreWithSameCounterAndAnotherIdIsRepaired) {
  start();
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("test");
  const std::string first = machine_id();
  pages_.write(RestoreKind::kClone, 20, 3);
  agent_->check("test");
  EXPECT_EQ(agent_->status().restores, 2U);
  EXPECT_NE(machine_id(), first);
}

TEST_F(AgentTest, RestoreOfARestoreWithinOneSecondIsRepaired) {
  start();
  for (std::uint8_t serial = 2; serial < 6; ++serial) {
    pages_.write(RestoreKind::kClone, std::uint64_t{10} * serial, serial);
    agent_->check("test");
    EXPECT_EQ(slot().generation, 10U * serial);
  }
  EXPECT_EQ(agent_->status().restores, 4U);
}

TEST_F(AgentTest, RestoreDuringARepairIsRepairedToo) {
  start();
  bool once = false;
  kernel_.during = [&](const std::string& call) {
    if (call != "reseed" || once) return;
    once = true;
    pages_.write(RestoreKind::kClone, 30, 3);
  };
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("test");
  EXPECT_EQ(slot().generation, 30U);
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_EQ(reseeds(), 3);
  EXPECT_NE(machine_id(), kOldMachineId);
}

TEST_F(AgentTest, VmmThatOvertakesARegisteredPageIsNeverOverwritten) {
  start();
  welcome(1, RestoreKind::kBoot);
  agent_->host_said(Registered{.ok = true, .error = {}});
  bool once = false;
  kernel_.during = [&](const std::string& call) {
    if (call != "reseed" || once) return;
    once = true;
    pages_.write(RestoreKind::kClone, 30, 3);
    vmm_writes_page(30, 3);
  };
  pages_.write(RestoreKind::kClone, 20, 2);
  vmm_writes_page(20, 2);
  agent_->check("test");
  const clonesafe_generation_slot published = slot();
  EXPECT_EQ(published.generation, 30U);
  EXPECT_EQ(published.state, CLONESAFE_STATE_SAFE);
  // The diversifier is the VMM's, not one of the agent's making.
  EXPECT_EQ(hex(published.diversifier), hex(bytes32(0x43)));
}

TEST_F(AgentTest, TierIsWordOnlyAfterTheHostRegisteredThePage) {
  start();
  EXPECT_EQ(slot().tier, CLONESAFE_TIER_LAGGING);
  welcome(1, RestoreKind::kBoot);
  EXPECT_EQ(slot().tier, CLONESAFE_TIER_LAGGING);
  agent_->host_said(Registered{.ok = true, .error = {}});
  EXPECT_EQ(slot().tier, CLONESAFE_TIER_WORD);
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  agent_->host_said(Registered{.ok = false, .error = "moved"});
  EXPECT_EQ(slot().tier, CLONESAFE_TIER_LAGGING);
  EXPECT_EQ(agent_->status().registration_error, "moved");
}

TEST_F(AgentTest, FailedRepairIsDegradedAndReportedAsSuch) {
  kernel_.errors = {{"reseed", ENOTTY}};
  start();
  welcome(1, RestoreKind::kBoot);
  EXPECT_EQ(slot().state, CLONESAFE_STATE_DEGRADED);
  EXPECT_EQ(slot().kernel_rng_epoch, 0U);
  ASSERT_EQ(host_.count("safe"), 1U);
  EXPECT_NE(host_.lines[0].find("\"state\":\"degraded\""), std::string::npos);
  EXPECT_NE(host_.lines[0].find("\"result\":\"failed\""), std::string::npos);
}

TEST_F(AgentTest, FailureThatPassesBecomesSafeAndIsReportedAgain) {
  kernel_.errors = {{"reseed", ENODATA}};
  start();
  welcome(1, RestoreKind::kBoot);
  kernel_.errors.clear();
  ASSERT_TRUE(timers_.run_one_of(std::chrono::milliseconds(100)));
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_NE(slot().kernel_rng_epoch, 0U);
  EXPECT_EQ(host_.count("safe"), 2U);
}

TEST_F(AgentTest, RetriesEnd) {
  kernel_.errors = {{"reseed", ENOTTY}};
  start();
  int retries = 0;
  while (!timers_.pending.empty()) {
    ASSERT_TRUE(timers_.run_one_of(timers_.pending.front().first));
    ASSERT_LT(++retries, 20);
  }
  EXPECT_EQ(slot().state, CLONESAFE_STATE_DEGRADED);
  EXPECT_FALSE(agent_->status().retrying);
}

TEST_F(AgentTest, RetryOfAnEarlierRestoreIsHarmless) {
  kernel_.errors = {{"reseed", ENOTTY}};
  start();
  kernel_.errors.clear();
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("test");
  const std::string repaired = machine_id();
  timers_.run_one_of(std::chrono::milliseconds(100));
  EXPECT_EQ(machine_id(), repaired);
  EXPECT_EQ(slot().generation, 20U);
}

TEST_F(AgentTest, ReportIsBoundToTheRestoreAndSentOnEachConnection) {
  start();
  EXPECT_EQ(host_.count("safe"), 0U);
  welcome(1, RestoreKind::kBoot);
  ASSERT_EQ(host_.count("safe"), 1U);
  EXPECT_NE(host_.lines[0].find("\"restore_id\":\"" + hex(id(1)) + "\""), std::string::npos);

  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->host_lost();
  EXPECT_EQ(host_.count("safe"), 1U);
  welcome(2, RestoreKind::kClone);
  EXPECT_EQ(host_.count("safe"), 2U);
  EXPECT_NE(host_.lines.back().find("register_page"), std::string::npos);
}

TEST_F(AgentTest, RestoreThatTheWelcomeFindsFirstIsReportedOnce) {
  start();
  welcome(1, RestoreKind::kBoot);
  agent_->host_lost();
  pages_.write(RestoreKind::kClone, 20, 2);
  welcome(2, RestoreKind::kClone);
  EXPECT_EQ(host_.count("safe"), 2U);
  EXPECT_EQ(agent_->status().kind, RestoreKind::kClone);
}

// Stands for what the operator's document is for.
class DocumentRepair : public Repair {
 public:
  explicit DocumentRepair(std::vector<std::string>& seen) : seen_(seen) {}
  std::string_view name() const override { return "document"; }
  Stage stage() const override { return Stage::kDocument; }
  Finding run(const RepairEvent& event) override {
    seen_.push_back(std::string(name_of(event.kind)) + " " + event.restore.metadata);
    return event.restore.metadata == "bad" ? failed("is bad") : ok();
  }

 private:
  std::vector<std::string>& seen_;
};

class AgentDocumentTest : public AgentTest {
 protected:
  AgentDocumentTest() { repairs_.add(std::make_unique<DocumentRepair>(seen_)); }
  void welcome_with(std::uint8_t serial, RestoreKind kind, const std::string& document) {
    agent_->host_said(Welcome{
        .host = "test", .words = {.restore_id = id(serial), .kind = kind, .metadata = document}});
  }
  std::vector<std::string> seen_;
};

// One that is too large for the restore page.
TEST_F(AgentDocumentTest, WhatTheHostTellsIsActedOnBeforeItHasTheReport) {
  start();
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("test");
  EXPECT_EQ(agent_->status().state, CLONESAFE_STATE_SAFE);
  welcome_with(2, RestoreKind::kClone, "bad");
  EXPECT_EQ(seen_, (std::vector<std::string>{"boot ", "clone ", "clone bad"}));
  ASSERT_EQ(host_.count("safe"), 1U);
  EXPECT_NE(host_.lines[0].find(R"("name":"document","result":"failed")"), std::string::npos);
  EXPECT_NE(host_.lines[0].find(R"("state":"degraded")"), std::string::npos) << host_.lines[0];
  EXPECT_EQ(slot().state, CLONESAFE_STATE_DEGRADED);
  // Tried again like any other; and a better document ends it.
  EXPECT_TRUE(agent_->status().retrying);
  agent_->host_lost();
  welcome_with(2, RestoreKind::kClone, "good");
  EXPECT_EQ(seen_.back(), "clone good");
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_NE(host_.lines.back().find("register_page"), std::string::npos);
}

TEST_F(AgentDocumentTest, WelcomeThatFindsTheRestoreGivesItTheDocument) {
  start();
  welcome(1, RestoreKind::kBoot);
  agent_->host_lost();
  pages_.write(RestoreKind::kClone, 20, 2);
  welcome_with(2, RestoreKind::kClone, "good");
  EXPECT_EQ(seen_, (std::vector<std::string>{"boot ", "clone good"}));
  // The next clone is not given its parent's.
  agent_->host_lost();
  pages_.write(RestoreKind::kClone, 30, 3);
  agent_->check("test");
  EXPECT_EQ(seen_.back(), "clone ");
}

// What it was given somebody may have changed since.
TEST_F(AgentDocumentTest, AgentThatIsStartedAgainChangesNothing) {
  start();
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("test");
  agent_.reset();
  start();
  welcome_with(2, RestoreKind::kClone, "good");
  EXPECT_EQ(seen_.back(), "resume good");
}

TEST_F(AgentTest, RestartedAgentGoesOnWhereItWas) {
  start();
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("test");
  const std::string repaired = machine_id();
  const auto epoch = slot().kernel_rng_epoch;
  agent_.reset();
  start();
  EXPECT_EQ(agent_->status().state, CLONESAFE_STATE_SAFE);
  EXPECT_EQ(machine_id(), repaired);
  EXPECT_EQ(slot().kernel_rng_epoch, epoch);
}

TEST_F(AgentTest, RestoreWhileNoAgentRanIsRepairedByTheNextOne) {
  start();
  agent_.reset();
  pages_.write(RestoreKind::kClone, 20, 2);
  start();
  EXPECT_EQ(agent_->status().kind, RestoreKind::kClone);
  EXPECT_NE(machine_id(), kOldMachineId);
}

TEST_F(AgentTest, AgentThatDiedInARepairIsReplacedByOneThatRepairs) {
  start();
  agent_.reset();
  pages_.write(RestoreKind::kClone, 20, 2);
  vmm_writes_page(20, 2);
  EXPECT_EQ(slot().state, CLONESAFE_STATE_REPAIRING);
  start();
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_NE(machine_id(), kOldMachineId);
}

TEST_F(AgentTest, RestoreWithTheIdOfTheLastOneIsRepairedAllTheSame) {
  start();
  pages_.write(RestoreKind::kClone, 20, 2);
  vmm_writes_page(20, 2);
  agent_->check("test");
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  const int before = reseeds();
  vmm_writes_page(20, 2);
  agent_->check("test");
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_EQ(reseeds(), before + 1);
  agent_->check("test");
  EXPECT_EQ(reseeds(), before + 1);
}

TEST(Diversifier, WithoutASeedSiblingsStillDiffer) {
  Restore one = {.restore_id = id(1), .separates_siblings = true};
  Restore two = {.restore_id = id(2), .separates_siblings = true};
  EXPECT_NE(*diversifier_of(one, nullptr, nullptr), *diversifier_of(two, nullptr, nullptr));
}

// A bare counter, or the kernel's line: what is made of it is equal in siblings.
TEST(Diversifier, WordsThatMayBeEqualInSiblingsMakeNone) {
  const Restore restore = {.restore_id = id(1), .generation = 7};
  EXPECT_EQ(*diversifier_of(restore, nullptr, nullptr), Bytes32{});
}

TEST(Diversifier, WhatThePageSaysOfAnotherRestoreIsNotUsed) {
  Restore restore;
  restore.restore_id = id(1);
  clonesafe_generation_slot slot = {};
  std::memset(slot.restore_id, 2, sizeof(slot.restore_id));
  std::memset(slot.diversifier, 7, sizeof(slot.diversifier));
  EXPECT_NE(*diversifier_of(restore, &slot, nullptr), bytes32(7));
  std::memset(slot.restore_id, 1, sizeof(slot.restore_id));
  EXPECT_EQ(*diversifier_of(restore, &slot, nullptr), bytes32(7));
}

// Without any source but the host, which isn't there yet when the agent starts.
class AgentWithoutSourcesTest : public AgentTest {
 protected:
  void start_without_sources() {
    auto agent = Agent::start({.sources = none_,
                               .repairs = repairs_,
                               .freezer = freezer_,
                               .host = host_,
                               .timers = timers_,
                               .page_path = page_path_});
    ASSERT_TRUE(agent) << agent.error().message();
    agent_ = std::move(*agent);
  }
  SourceSet none_;
};

TEST_F(AgentWithoutSourcesTest, StartedAgainIsTheSameMachineAndNoClone) {
  start_without_sources();
  welcome(1, RestoreKind::kBoot);
  const std::string before = machine_id();
  const auto published = slot();
  agent_.reset();
  none_ = SourceSet();
  start_without_sources();
  EXPECT_EQ(machine_id(), before);
  EXPECT_EQ(slot().generation, published.generation);
  EXPECT_EQ(slot().state, static_cast<std::uint32_t>(CLONESAFE_STATE_SAFE));
  const int reseeds_before = reseeds();
  welcome(1, RestoreKind::kBoot);
  EXPECT_EQ(machine_id(), before);
  EXPECT_EQ(reseeds(), reseeds_before);
  welcome(2, RestoreKind::kClone);
  EXPECT_NE(machine_id(), before);
}

TEST_F(AgentWithoutSourcesTest, WordThatTheVmmWroteIntoThePageIsRepaired) {
  start_without_sources();
  welcome(1, RestoreKind::kBoot);
  const std::string before = machine_id();
  vmm_writes_page(20, 2);
  agent_->host_lost();
  EXPECT_NE(machine_id(), before);
  EXPECT_EQ(agent_->status().kind, RestoreKind::kClone);
  EXPECT_EQ(agent_->status().restore.decided_by, "generation_page");
  EXPECT_EQ(slot().generation, 20u);
  EXPECT_EQ(slot().restore_id[0], 2);
  // The host tells of the same restore.
  const int reseeds_before = reseeds();
  welcome(2, RestoreKind::kClone);
  EXPECT_EQ(reseeds(), reseeds_before);
}

TEST_F(AgentWithoutSourcesTest, SourceThatWentOnWhileNoAgentRanKeepsItsIdentity) {
  start_without_sources();
  welcome(1, RestoreKind::kBoot);
  vmm_writes_page(20, 2);
  agent_->check("test");
  const std::string before = machine_id();
  agent_.reset();
  none_ = SourceSet();
  vmm_writes_page(20, 3);
  const int reseeds_before = reseeds();
  start_without_sources();
  welcome(3, RestoreKind::kResume);
  EXPECT_EQ(machine_id(), before);
  EXPECT_EQ(slot().state, static_cast<std::uint32_t>(CLONESAFE_STATE_SAFE));
  EXPECT_GT(reseeds(), reseeds_before);
}

}  // namespace
}  // namespace clonesafe::agent
