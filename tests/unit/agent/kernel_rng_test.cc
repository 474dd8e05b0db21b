#include "guest_agent/repairs/kernel_rng.h"

#include <gtest/gtest.h>

#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

class KernelRngTest : public testing::Test {
 protected:
  KernelRngTest() {
    pages_.write(RestoreKind::kClone, 77, 3);
    seed_ = std::move(RestorePageSource::open_file(pages_.path())->seed);
    event_.restore.restore_id = id(3);
    event_.restore.vm_generation_id = id(77);
    event_.restore.separates_siblings = true;
    event_.kind = RestoreKind::kClone;
    event_.diversifier = bytes32(5);
  }

  Repair::Finding run() { return KernelRngRepair(kernel_, seed_.get()).run(event_); }

  TemporaryFolder folder_;
  RestorePages pages_{folder_ / "restore"};
  std::unique_ptr<SeedPage> seed_;
  FakeKernel kernel_;
  RepairEvent event_;
};

TEST_F(KernelRngTest, SeedIsCreditedThenTheRestMixedThenTheGeneratorRekeyed) {
  const auto finding = run();
  EXPECT_EQ(finding.outcome, Outcome::kOk);
  EXPECT_EQ(finding.detail, "");
  const std::string seed = hex(bytes32(0x83));
  EXPECT_EQ(kernel_.calls, (std::vector<std::string>{"add " + seed + " credit 256", "mix", "reseed",
                                                     "random", "random"}));
}

TEST_F(KernelRngTest, SeedIsZeroedOnceTheKernelHasIt) {
  kernel_.during = [this](const std::string& call) {
    if (call == "mix") {
      EXPECT_TRUE(is_zero(pages_.seed().seed));
    }
  };
  run();
  EXPECT_TRUE(is_zero(pages_.seed().seed));
  EXPECT_EQ(pages_.seed().present, 0U);
}

TEST_F(KernelRngTest, NothingButTheSeedIsEverCredited) {
  seed_.reset();
  EXPECT_EQ(run().outcome, Outcome::kOk);
  EXPECT_EQ(kernel_.calls, (std::vector<std::string>{"mix", "reseed", "random", "random"}));
}

TEST_F(KernelRngTest, SiblingsMixDifferentBytes) {
  run();
  const std::string first = kernel_.mixed;
  event_.restore.vm_generation_id = id(78);
  run();
  EXPECT_NE(kernel_.mixed, first);
}

TEST_F(KernelRngTest, SeedOfAnotherRestoreIsNotUsed) {
  event_.restore.restore_id = id(4);
  const auto finding = run();
  EXPECT_NE(finding.detail.find("another restore"), std::string::npos);
  EXPECT_EQ(kernel_.calls.front(), "mix");
  EXPECT_EQ(pages_.seed().present, 1U);
}

TEST_F(KernelRngTest, EveryRefusalOfTheKernelIsAFailureThatNamesTheCall) {
  for (const auto& [call, error] : std::map<std::string, int>{
           {"add", EPERM}, {"mix", EIO}, {"reseed", ENOTTY}, {"random", EAGAIN}}) {
    pages_.write(RestoreKind::kClone, 77, 3);
    kernel_.errors = {{call, error}};
    const auto finding = run();
    EXPECT_EQ(finding.outcome, Outcome::kFailed) << call;
    EXPECT_NE(finding.detail.find(call), std::string::npos) << finding.detail;
  }
}

TEST_F(KernelRngTest, RefusedSeedIsZeroedTooAndTheRestStillRuns) {
  kernel_.errors = {{"add", EPERM}};
  EXPECT_EQ(run().outcome, Outcome::kFailed);
  EXPECT_TRUE(is_zero(pages_.seed().seed));
  EXPECT_NE(std::find(kernel_.calls.begin(), kernel_.calls.end(), "reseed"), kernel_.calls.end());
}

TEST_F(KernelRngTest, GeneratorThatRepeatsItselfIsAFailure) {
  kernel_.stuck = true;
  EXPECT_EQ(run().outcome, Outcome::kFailed);
}

TEST_F(KernelRngTest, CloneThatNothingSeparatesFromItsSiblingsIsAFailure) {
  seed_.reset();
  event_.restore.separates_siblings = false;
  EXPECT_EQ(run().outcome, Outcome::kFailed);
  event_.kind = RestoreKind::kBoot;
  EXPECT_EQ(run().outcome, Outcome::kOk);
}

TEST(LinuxKernelTest, RunningKernelHasAGeneratorToRead) {
  auto kernel = open_linux_kernel();
  if (!kernel) GTEST_SKIP() << kernel.error().message();
  Bytes32 first = {};
  Bytes32 second = {};
  ASSERT_TRUE((*kernel)->random(first));
  ASSERT_TRUE((*kernel)->random(second));
  EXPECT_NE(first, second);
  EXPECT_TRUE((*kernel)->mix(first));
}

}  // namespace
}  // namespace clonesafe::agent
