#include "guest_agent/repairs/clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kHostTime = 1'790'000'000'000'000'000;

class ClockTest : public testing::Test {
 protected:
  ClockTest() {
    event_.kind = RestoreKind::kClone;
    event_.restore.host_realtime_ns = kHostTime;
    event_.restore.tsc = 5'000;
    event_.restore.tsc_khz = 2'000'000;
    kernel_.counter_now = 5'000;
    kernel_.realtime = kHostTime - 3'600'000'000'000;
  }
  Repair::Finding run() { return ClockRepair(kernel_).run(event_); }

  FakeKernel kernel_;
  RepairEvent event_;
};

TEST_F(ClockTest, CloneGetsTheHostsTimeAndSaysByHowMuch) {
  const auto finding = run();
  EXPECT_EQ(finding.outcome, Outcome::kOk) << finding.detail;
  EXPECT_EQ(kernel_.realtime, kHostTime);
  EXPECT_EQ(finding.detail, "stepped by +3600.000000 s");
}

TEST_F(ClockTest, AMoveToo) {
  event_.kind = RestoreKind::kMove;
  EXPECT_EQ(run().outcome, Outcome::kOk);
  EXPECT_EQ(kernel_.realtime, kHostTime);
}

TEST_F(ClockTest, TimeSinceTheRestoreCounts) {
  kernel_.counter_now += 3'000'000'000;  // 1.5 s at 2 GHz
  ASSERT_EQ(run().outcome, Outcome::kOk);
  EXPECT_EQ(kernel_.realtime, kHostTime + 1'500'000'000);
}

// The host said its time over vsock, and the agent looked at its own clock when it heard it.
TEST_F(ClockTest, TimeSinceTheHostWasHeardCounts) {
  event_.restore.tsc_khz = 0;
  kernel_.monotonic = 9'000'000'000;
  event_.restore.monotonic_ns = 7'500'000'000;
  const auto finding = run();
  ASSERT_EQ(finding.outcome, Outcome::kOk);
  EXPECT_EQ(kernel_.realtime, kHostTime + 1'500'000'000);
  EXPECT_EQ(finding.detail, "stepped by +3601.500000 s");
}

TEST_F(ClockTest, WithoutATscItSaysThatItMayBeLate) {
  event_.restore.tsc_khz = 0;
  auto finding = run();
  EXPECT_EQ(finding.outcome, Outcome::kOk);
  EXPECT_EQ(kernel_.realtime, kHostTime);
  EXPECT_THAT(finding.detail, HasSubstr("may be late"));
}

TEST_F(ClockTest, ATscThatWasSetBackIsNotBelieved) {
  kernel_.counter_now = 4'000;
  auto finding = run();
  EXPECT_EQ(finding.outcome, Outcome::kOk);
  EXPECT_EQ(kernel_.realtime, kHostTime);
  EXPECT_THAT(finding.detail, HasSubstr("may be late"));
}

TEST_F(ClockTest, AHostThatIsBehindIsRightToo) {
  kernel_.realtime = kHostTime + 250'000'000;
  EXPECT_EQ(run().detail, "stepped by -0.250000 s");
  EXPECT_EQ(kernel_.realtime, kHostTime);
}

TEST_F(ClockTest, BootAndResumeLeaveTheClockAlone) {
  for (const RestoreKind kind : {RestoreKind::kBoot, RestoreKind::kResume}) {
    event_.kind = kind;
    EXPECT_EQ(run().outcome, Outcome::kSkipped);
  }
  EXPECT_EQ(kernel_.times_set, 0);
}

TEST_F(ClockTest, AHostThatTellsNoTimeOrAnAbsurdOneIsNotAsked) {
  for (const std::uint64_t time : {std::uint64_t{0}, ~std::uint64_t{0}}) {
    event_.restore.host_realtime_ns = time;
    EXPECT_EQ(run().outcome, Outcome::kSkipped);
  }
  EXPECT_EQ(kernel_.times_set, 0);
}

TEST_F(ClockTest, AClockThatDoesNotTakeItIsAFailure) {
  kernel_.clock_is_stuck = true;
  const auto finding = run();
  EXPECT_EQ(finding.outcome, Outcome::kFailed);
  EXPECT_THAT(finding.detail, HasSubstr("-3600.000000 s"));
}

TEST_F(ClockTest, ARightThatIsMissingIsAFailureByName) {
  kernel_.errors["set_realtime"] = EPERM;
  const auto finding = run();
  EXPECT_EQ(finding.outcome, Outcome::kFailed);
  EXPECT_THAT(finding.detail, HasSubstr("set_realtime"));
}

TEST_F(ClockTest, NumbersAtTheirLimitsDoNotOverflow) {
  event_.restore.tsc = 0;
  event_.restore.tsc_khz = 1;
  kernel_.counter_now = ~std::uint64_t{0};
  EXPECT_EQ(run().outcome, Outcome::kOk);
  EXPECT_EQ(kernel_.realtime, kHostTime) << "no age of a machine";
}

}  // namespace
}  // namespace clonesafe::agent
