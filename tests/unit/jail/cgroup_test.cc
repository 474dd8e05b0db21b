#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/unit/jail/fixture.h"

namespace clonesafe::jail {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Where cgroup v2 is mounted; empty: nowhere.
fs::path mounted_at() {
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string what, where, type;
    fields >> what >> where >> type;
    if (type == "cgroup2") return where;
  }
  return {};
}

std::string text_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Cgroup, RefusesADirectoryThatIsNone) {
  char folder[] = "/tmp/cgroup.XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  std::ofstream(fs::path(folder) / "cgroup.procs");
  const auto joined = join_cgroup(folder);
  ASSERT_FALSE(joined);
  EXPECT_THAT(joined.error().message(), HasSubstr("not in a cgroup v2 file system"));
  EXPECT_EQ(text_of(fs::path(folder) / "cgroup.procs"), "");
  fs::remove_all(folder);
  EXPECT_THAT(join_cgroup("/no/such").error().message(), HasSubstr("/no/such/cgroup.procs"));
}

class CgroupMember : public JailTest {};

TEST_F(CgroupMember, IsTheProcessThatJoined) {
  const fs::path root = mounted_at();
  if (root.empty()) GTEST_SKIP() << "cgroup v2 is not mounted";
  const fs::path group = root / ("clonesafe-test-" + std::to_string(::getpid()));
  if (::mkdir(group.c_str(), 0755) != 0) GTEST_SKIP() << "may not make " << group;
  const int status = in_process([&] {
    if (!join_cgroup(group)) return 1;
    return text_of(group / "cgroup.procs") == std::to_string(::getpid()) + "\n" ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(::rmdir(group.c_str()), 0);
}

}  // namespace
}  // namespace clonesafe::jail
