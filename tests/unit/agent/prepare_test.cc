#include "tests/unit/agent/agent_fixture.h"

namespace clonesafe::agent {
namespace {

class PrepareTest : public AgentTest {
 protected:
  void announce(const std::string& id = "s1") {
    agent_->host_said(Prepare{.id = id, .deadline = kDeadline});
  }
  void prepare() {
    start();
    welcome(1, RestoreKind::kBoot);
    announce();
    kernel_freezes();
    timers_.run_one_of(kPoll);
  }
  std::string last() { return host_.lines.back(); }
};

TEST_F(PrepareTest, AnswerComesOnlyWhenEverythingStandsStill) {
  start();
  welcome(1, RestoreKind::kBoot);
  announce();
  EXPECT_EQ(folder_.read("one/cgroup.freeze")[0], '1');
  EXPECT_EQ(folder_.read("two/cgroup.freeze")[0], '1');
  EXPECT_EQ(host_.count("prepared"), 0U);
  ASSERT_TRUE(timers_.run_one_of(kPoll));
  EXPECT_EQ(host_.count("prepared"), 0U);
  kernel_freezes();
  ASSERT_TRUE(timers_.run_one_of(kPoll));
  ASSERT_EQ(host_.count("prepared"), 1U);
  EXPECT_NE(last().find("\"ok\":true"), std::string::npos);
  EXPECT_FALSE(thawed());
}

TEST_F(PrepareTest, CloneRepairsFirstAndThawsLast) {
  prepare();
  kernel_.during = [this](const std::string&) { EXPECT_FALSE(thawed()); };
  pages_.write(RestoreKind::kClone, 20, 2);
  agent_->check("vsock");
  EXPECT_TRUE(thawed());
  EXPECT_EQ(slot().state, CLONESAFE_STATE_SAFE);
  EXPECT_FALSE(agent_->status().prepared);
}

TEST_F(PrepareTest, DeadlineThatIsTheFirstThingInACloneRepairsBeforeItThaws) {
  prepare();
  pages_.write(RestoreKind::kClone, 20, 2);
  kernel_.during = [this](const std::string&) { EXPECT_FALSE(thawed()); };
  ASSERT_TRUE(timers_.run_one_of(kDeadline));
  EXPECT_TRUE(thawed());
  EXPECT_EQ(slot().generation, 20U);
}

TEST_F(PrepareTest, ResumedSourceReseedsThenThaws) {
  prepare();
  pages_.write(RestoreKind::kResume, 10, 2);
  kernel_.during = [this](const std::string&) { EXPECT_FALSE(thawed()); };
  agent_->host_said(Resumed{.words = {.restore_id = id(2), .kind = RestoreKind::kResume}});
  EXPECT_TRUE(thawed());
  EXPECT_EQ(reseeds(), 2);
  EXPECT_EQ(agent_->status().kind, RestoreKind::kResume);
}

TEST_F(PrepareTest, AbortThaws) {
  prepare();
  agent_->host_said(Abort{.id = "another"});
  EXPECT_FALSE(thawed());
  agent_->host_said(Abort{.id = "s1"});
  EXPECT_TRUE(thawed());
}

TEST_F(PrepareTest, SnapshotThatNeverComesIsUndone) {
  prepare();
  ASSERT_TRUE(timers_.run_one_of(kDeadline));
  EXPECT_TRUE(thawed());
  EXPECT_FALSE(agent_->status().prepared);
}

TEST_F(PrepareTest, WorkloadThatDoesNotFreezeInTimeIsARefusal) {
  start();
  welcome(1, RestoreKind::kBoot);
  announce();
  ASSERT_TRUE(timers_.run_one_of(kDeadline));
  EXPECT_NE(last().find("\"ok\":false"), std::string::npos);
  EXPECT_NE(last().find("deadline"), std::string::npos);
  EXPECT_TRUE(thawed());
}

TEST_F(PrepareTest, SecondAnnouncementIsRefusedAndTheFirstGoesOn) {
  prepare();
  announce("s2");
  EXPECT_NE(last().find("\"id\":\"s2\""), std::string::npos);
  EXPECT_NE(last().find("\"ok\":false"), std::string::npos);
  EXPECT_FALSE(thawed());
}

TEST_F(PrepareTest, DeadlineOfAnEarlierAnnouncementDoesNotEndTheNextOne) {
  prepare();
  agent_->host_said(Abort{.id = "s1"});
  announce("s2");
  timers_.run_one_of(kPoll);
  EXPECT_FALSE(thawed());
  ASSERT_TRUE(timers_.run_one_of(kDeadline));  // of s1
  EXPECT_FALSE(thawed());
  ASSERT_TRUE(timers_.run_one_of(kDeadline));  // of s2
  EXPECT_TRUE(thawed());
}

TEST_F(PrepareTest, CgroupThatIsNotThereIsARefusalAndNothingStaysFrozen) {
  std::filesystem::remove_all(folder_ / "two");
  start();
  welcome(1, RestoreKind::kBoot);
  announce();
  EXPECT_NE(last().find("\"ok\":false"), std::string::npos);
  EXPECT_NE(last().find("two/cgroup.freeze"), std::string::npos);
  EXPECT_EQ(folder_.read("one/cgroup.freeze")[0], '0');
}

TEST_F(PrepareTest, LostHostAloneDoesNotThaw) {
  prepare();
  agent_->host_lost();
  EXPECT_FALSE(thawed());
}

TEST_F(PrepareTest, RestartedAgentThawsWhatTheFirstOneFroze) {
  prepare();
  agent_.reset();
  freezer_ = CgroupFreezer({folder_ / "one", folder_ / "two"});
  start();
  EXPECT_TRUE(thawed());
}

}  // namespace
}  // namespace clonesafe::agent
