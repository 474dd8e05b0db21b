#include "tests/audit/core/analysis.h"

#include <gmock/gmock.h>

#include "tests/unit/audit/logs.h"

namespace clonesafe::audit {
namespace {

using testing::HasSubstr;

// Two values were drawn before the snapshot in each test.
const Cuts kCut = {{"probe", {2, 2}}};
const Cuts kCutInHand = {{"probe", {3, 2}}};

TEST(Analysis, ValuesDrawnBeforeTheSnapshotAreNoDuplicates) {
  const auto found = analyse(kCut, {make_machine("parent", make_log("probe", {1, 2, 10, 11})),
                                    make_machine("clone-1", make_log("probe", {1, 2, 20, 21})),
                                    make_machine("clone-2", make_log("probe", {1, 2, 30}))});
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found->front().duplicates, 0U);
  EXPECT_EQ(found->front().samples, 5U);
  EXPECT_EQ(found->front().window_us, std::nullopt);
}

TEST(Analysis, AValueThatTwoMachinesDrewIsOneDuplicateHoweverManyDrewIt) {
  const auto found =
      analyse(kCut, {make_machine("parent", make_log("probe", {1, 2, 10, 11, 12})),
                     make_machine("clone-1", make_log("probe", {1, 2, 10, 21, 22})),
                     make_machine("clone-2", make_log("probe", {1, 2, 10, 21, 32}))});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->front().duplicates, 2U);
  // Record 3 is the last one repeated, record 2 was the first after the restore: 1 us later.
  EXPECT_EQ(found->front().window_us, 1U);
}

TEST(Analysis, ADuplicateAtAnotherNumberOfDrawsIsFound) {
  const auto found =
      analyse(kCut, {make_machine("clone-1", make_log("probe", {1, 2, 20, 21, 22})),
                     make_machine("clone-2", make_log("probe", {1, 2, 22, 31, 32}))});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->front().duplicates, 1U);
}

TEST(Analysis, AMachineThatRepeatsItselfOrItsPastIsFound) {
  const auto itself = analyse(kCut, {make_machine("clone-1", make_log("probe", {1, 2, 20, 20})),
                                     make_machine("clone-2", make_log("probe", {1, 2, 30}))});
  ASSERT_TRUE(itself);
  EXPECT_EQ(itself->front().duplicates, 1U);
  const auto past = analyse(kCut, {make_machine("clone-1", make_log("probe", {1, 2, 1})),
                                   make_machine("clone-2", make_log("probe", {1, 2, 30}))});
  ASSERT_TRUE(past);
  EXPECT_EQ(past->front().duplicates, 1U);
}

// Programs of one machine draw from one kernel: which of them gets a value is chance.
TEST(Analysis, AValueThatAnotherProbeDrewInASiblingIsFound) {
  const Cuts cuts = {{"probe", {2, 2}}, {"second", {2, 2}}};
  auto one = make_machine("clone-1", make_log("probe", {1, 2, 20, 21}));
  one.collection.files["log/second"] = make_log("second", {3, 4, 50});
  auto two = make_machine("clone-2", make_log("probe", {1, 2, 30, 50}));
  // As a UUID of version 4 has it: bits of byte 6 and byte 8 are taken.
  two.collection.files["log/second"] = make_log("second", {3, 4, 20 | 0x40ULL << 48});
  const auto found = analyse(cuts, {one, two});
  ASSERT_TRUE(found) << found.error().message();
  ASSERT_EQ(found->size(), 2U);
  EXPECT_EQ(found->at(0).duplicates, 2U);
  EXPECT_EQ(found->at(1).duplicates, 2U);
}

TEST(Analysis, AValueThatTwoThreadsOfOneMachineDrewIsFound) {
  const Cuts cuts = {{"probe", {2, 2}}, {"probe.2", {2, 2}}};
  auto one = make_machine("clone-1", make_log("probe", {1, 2, 20, 21}));
  one.collection.files["log/probe.2"] = make_log("probe.2", {3, 4, 21});
  auto two = make_machine("clone-2", make_log("probe", {1, 2, 30}));
  two.collection.files["log/probe.2"] = make_log("probe.2", {3, 4, 40});
  const auto found = analyse(cuts, {one, two});
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found->at(0).duplicates, 1U);
  EXPECT_EQ(found->at(1).duplicates, 1U);
}

TEST(Analysis, EachThreadOfAProbeThatNeedsAHookNeedsIt) {
  EXPECT_TRUE(needs_hook("cxx.mt19937"));
  EXPECT_TRUE(needs_hook("cxx.mt19937.4"));
  EXPECT_FALSE(needs_hook("cxx.mt19937x"));
  EXPECT_FALSE(needs_hook("cxx"));
}

TEST(Analysis, TheValueInHandIsCountedApart) {
  const auto found =
      analyse(kCutInHand, {make_machine("clone-1", make_log("probe", {1, 2, 9, 20})),
                           make_machine("clone-2", make_log("probe", {1, 2, 9, 30}))});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->front().duplicates, 0U);
  EXPECT_EQ(found->front().in_hand, 2U);
  EXPECT_EQ(found->front().in_hand_duplicates, 2U);
}

TEST(Analysis, ALogWhoseFirstValuesAfterTheCutWereOverwrittenIsRefused) {
  const auto found =
      analyse(kCut, {make_machine("clone-1", make_log("probe", {1, 2, 3, 4, 5, 6, 7}, 4)),
                     make_machine("clone-2", make_log("probe", {1, 2, 30}))});
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message(), HasSubstr("lapped"));
}

TEST(Analysis, AMachineWithoutAValueAfterTheRestoreIsRefused) {
  const auto found = analyse(kCut, {make_machine("clone-1", make_log("probe", {1, 2})),
                                    make_machine("clone-2", make_log("probe", {1, 2, 30}))});
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message(), HasSubstr("no value that was drawn after the restore"));
}

TEST(Analysis, AMissingLogAndAProbeThatEndedAreRefused) {
  auto without_log = make_machine("clone-2", make_log("probe", {1, 2, 30}));
  without_log.collection.files.erase("log/probe");
  const auto good = make_machine("clone-1", make_log("probe", {1, 2, 20}));
  EXPECT_FALSE(analyse(kCut, {good, without_log}));
  auto ended = make_machine("clone-2", make_log("probe", {1, 2, 30}));
  ended.collection.files["ended"] = "probe: signal 11\n";
  EXPECT_FALSE(analyse(kCut, {good, ended}));
}

TEST(Analysis, ACutOffOrForgedLogIsRefused) {
  const std::string log = make_log("probe", {1, 2, 30});
  const auto good = make_machine("clone-1", make_log("probe", {1, 2, 20}));
  EXPECT_FALSE(analyse(kCut, {good, make_machine("clone-2", log.substr(0, log.size() - 1))}));
  EXPECT_FALSE(analyse(kCut, {good, make_machine("clone-2", log.substr(0, 100))}));
  std::string forged = log;
  forged[40] = forged[41] = forged[42] = forged[47] = '\xff';  // capacity
  EXPECT_FALSE(analyse(kCut, {good, make_machine("clone-2", forged)}));
}

TEST(Analysis, IdentityIsComparedAmongAllMachines) {
  const auto found = analyse(kCut, {make_machine("parent", make_log("probe", {1, 2, 10}), "a"),
                                    make_machine("clone-1", make_log("probe", {1, 2, 20}), "b"),
                                    make_machine("clone-2", make_log("probe", {1, 2, 30}), "a")});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->back().name, "identity.machine-id");
  EXPECT_EQ(found->back().duplicates, 1U);
}

TEST(Analysis, TheTierIsTheOneThatTheSourceClaimed) {
  const auto found =
      analyse(kCut, {make_machine("clone-1", make_log("probe", {1, 2, 20}, 64, ProbeTier::word)),
                     make_machine("clone-2", make_log("probe", {1, 2, 30}, 64, ProbeTier::word))});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->front().tier, "word");
}

}  // namespace
}  // namespace clonesafe::audit
