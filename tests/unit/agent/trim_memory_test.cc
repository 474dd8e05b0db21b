#include "guest_agent/helper/trim_memory.h"

#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

using std::chrono::milliseconds;

class TrimMemoryTest : public testing::Test {
 protected:
  TrimMemoryTest() {
    free(1000);
    folder_.write("drop_caches", "0");
    std::filesystem::create_directory(folder_ / "reclaim");
    folder_.write("reclaim/enabled", "N");
  }
  void free(int kib) {
    folder_.write("meminfo", "MemTotal:        9000 kB\nMemFree:         " + std::to_string(kib) +
                                 " kB\nMemAvailable:    5000 kB\n");
  }
  std::vector<RepairResult> trim(const TrimMemory& trim, std::size_t wanted = 10) {
    std::vector<RepairResult> results;
    trim_memory(
        trim,
        {.meminfo = folder_ / "meminfo",
         .drop_caches = folder_ / "drop_caches",
         .reclaim = folder_ / "reclaim"},
        [&](RepairResult result) {
          results.push_back(std::move(result));
          return results.size() < wanted;
        },
        [this](milliseconds) {
          enabled_meanwhile_ = folder_.read("reclaim/enabled");
          free(3500);
          return go_on_;
        });
    return results;
  }

  TemporaryFolder folder_;
  bool go_on_ = true;
  std::string enabled_meanwhile_;
};

TEST_F(TrimMemoryTest, WritesBackThenDrops) {
  const auto results = trim({.drop_caches = true});
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].name, "sync");
  EXPECT_EQ(results[1].name, "drop_caches");
  EXPECT_EQ(results[1].detail, "0 KiB given back");
  EXPECT_EQ(folder_.read("drop_caches"), "3");
}

TEST_F(TrimMemoryTest, ReclaimRunsForItsTimeAndIsOffAfterIt) {
  const auto results = trim({.drop_caches = false, .reclaim = milliseconds(5)});
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].detail, "2500 KiB given back");
  EXPECT_EQ(enabled_meanwhile_, "Y");
  EXPECT_EQ(folder_.read("reclaim/enabled"), "N");
  EXPECT_EQ(folder_.read("drop_caches"), "0");
}

TEST_F(TrimMemoryTest, ReclaimThatIsCancelledIsOffToo) {
  go_on_ = false;
  const auto results = trim({.drop_caches = false, .reclaim = milliseconds(5)});
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].outcome, Outcome::kFailed);
  EXPECT_EQ(folder_.read("reclaim/enabled"), "N");
}

TEST_F(TrimMemoryTest, KernelWithoutReclaimIsSkippedByName) {
  std::filesystem::remove_all(folder_ / "reclaim");
  const auto results = trim({.drop_caches = false, .reclaim = milliseconds(5)});
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].outcome, Outcome::kSkipped);
}

TEST_F(TrimMemoryTest, RefusalOfTheKernelIsAFailureAndTheRestRuns) {
  std::filesystem::remove(folder_ / "drop_caches");
  const auto results = trim({.drop_caches = true, .reclaim = milliseconds(5)});
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[1].outcome, Outcome::kFailed);
  EXPECT_NE(results[1].detail.find("drop_caches: No such file"), std::string::npos)
      << results[1].detail;
  EXPECT_EQ(results[2].outcome, Outcome::kOk);
}

TEST_F(TrimMemoryTest, EndsWhenNoMoreIsWanted) {
  EXPECT_EQ(trim({.drop_caches = true, .reclaim = milliseconds(5)}, 1).size(), 1U);
  EXPECT_EQ(folder_.read("drop_caches"), "0");
}

}  // namespace
}  // namespace clonesafe::agent
