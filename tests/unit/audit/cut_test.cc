#include "tests/audit/core/cut.h"

#include <gmock/gmock.h>

#include "tests/unit/audit/logs.h"

namespace clonesafe::audit {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

TEST(Cut, FindsEveryLogWhateverItsAlignment) {
  const std::string memory = std::string(4096 + 8, 'x') + make_log("a", {1, 2, 3}) +
                             std::string(100, '\0') + make_log("b", {1});
  const auto cuts = find_cuts(bytes_of(memory));
  ASSERT_TRUE(cuts) << cuts.error().message();
  EXPECT_EQ(*cuts, (Cuts{{"a", {3, 3}}, {"b", {1, 1}}}));
}

TEST(Cut, TheMagicInAProgramsTextIsNoLog) {
  const std::string magic(std::begin(kProbeLogMagic), std::end(kProbeLogMagic));
  const std::string memory = magic + "usage: ..." + make_log("a", {1}) + magic;
  const auto cuts = find_cuts(bytes_of(memory));
  ASSERT_TRUE(cuts) << cuts.error().message();
  EXPECT_EQ(cuts->size(), 1U);
}

TEST(Cut, TwoLogsOfOneNameThatDisagreeAreRefused) {
  EXPECT_FALSE(find_cuts(bytes_of(make_log("a", {1, 2}) + make_log("a", {1}))));
  EXPECT_TRUE(find_cuts(bytes_of(make_log("a", {1}) + make_log("a", {1}))));
}

TEST(Cut, ImpossibleCountersAreRefused) {
  std::string log = make_log("a", {1, 2});
  log[48] = 5;  // started: three more than completed
  EXPECT_FALSE(find_cuts(bytes_of(log)));
  log[48] = 1;  // fewer than completed
  EXPECT_FALSE(find_cuts(bytes_of(log)));
}

TEST(Cut, MemoryWithoutALogIsRefused) {
  EXPECT_FALSE(find_cuts(std::span<const std::byte>()));
  EXPECT_FALSE(find_cuts(bytes_of(std::string(8192, 'x'))));
  EXPECT_FALSE(find_cuts(std::filesystem::path("/nonexistent/memory.img")));
}

}  // namespace
}  // namespace clonesafe::audit
