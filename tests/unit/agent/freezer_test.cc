#include "guest_agent/freeze/cgroup_freezer.h"

#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

class FreezerTest : public testing::Test {
 protected:
  FreezerTest() {
    folder_.write("cgroup.freeze", "0\n");
    folder_.write("cgroup.events", "populated 1\nfrozen 0\n");
  }
  TemporaryFolder folder_;
  CgroupFreezer freezer_{{folder_ / "."}};
};

TEST_F(FreezerTest, AskedIsNotYetFrozen) {
  ASSERT_TRUE(freezer_.freeze());
  EXPECT_TRUE(freezer_.held());
  EXPECT_EQ(freezer_.frozen().value(), false);
  folder_.write("cgroup.events", "populated 1\nfrozen 1\n");
  EXPECT_EQ(freezer_.frozen().value(), true);
}

TEST_F(FreezerTest, ThawLetsGo) {
  ASSERT_TRUE(freezer_.freeze());
  ASSERT_TRUE(freezer_.thaw());
  EXPECT_FALSE(freezer_.held());
  EXPECT_EQ(folder_.read("cgroup.freeze")[0], '0');
}

TEST_F(FreezerTest, CgroupThatVanishedIsAnError) {
  ASSERT_TRUE(freezer_.freeze());
  std::filesystem::remove(folder_ / "cgroup.events");
  EXPECT_FALSE(freezer_.frozen());
  std::filesystem::remove(folder_ / "cgroup.freeze");
  EXPECT_FALSE(freezer_.thaw());
}

TEST_F(FreezerTest, NoCgroupsAreAlwaysFrozen) {
  CgroupFreezer none({});
  ASSERT_TRUE(none.freeze());
  EXPECT_EQ(none.frozen().value(), true);
}

}  // namespace
}  // namespace clonesafe::agent
