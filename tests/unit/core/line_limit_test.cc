#include "vmm_device/core/line_limit.h"

#include <gtest/gtest.h>

namespace clonesafe {
namespace {

using std::chrono::milliseconds;

TEST(LineLimit, LetsOneASecondThroughAndCountsTheOthers) {
  LineLimit limit;
  const LineLimit::Clock::time_point start{};
  EXPECT_EQ(limit.pass(start), "");
  EXPECT_EQ(limit.pass(start), std::nullopt);
  EXPECT_EQ(limit.pass(start + milliseconds(999)), std::nullopt);
  EXPECT_EQ(limit.pass(start + milliseconds(1000)), " (and 2 more before)");
  EXPECT_EQ(limit.pass(start + milliseconds(2000)), "");
}

}  // namespace
}  // namespace clonesafe
