#include "guest_agent/hooks/hook_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

namespace fs = std::filesystem;

class HookFolderTest : public testing::Test {
 protected:
  HookFolderTest() {
    fs::create_directory(after_);
    fs::create_directory(before_);
  }
  void add(const std::string& folder, const std::string& name, fs::perms mode = fs::perms(0755)) {
    std::ofstream(folder + "/" + name) << "#!/bin/sh\n";
    fs::permissions(folder + "/" + name, mode);
  }
  std::vector<HookProgram> list(HookPhase phase = HookPhase::kAfterRestore) {
    auto programs = list_hook_programs(top_, phase);
    EXPECT_TRUE(programs) << programs.error().message();
    return programs.value_or(std::vector<HookProgram>());
  }
  static std::string names(const std::vector<HookProgram>& programs) {
    std::string text;
    for (const HookProgram& program : programs) text += program.name + " ";
    return text;
  }

  TemporaryFolder folder_;
  std::string top_ = folder_ / "";
  std::string after_ = folder_ / "after-restore";
  std::string before_ = folder_ / "before-snapshot";
};

TEST_F(HookFolderTest, NoFolderHasNoHooks) {
  const auto none = list_hook_programs(folder_ / "nothing", HookPhase::kAfterRestore);
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
  fs::remove(after_);
  EXPECT_TRUE(list().empty());
}

TEST_F(HookFolderTest, OrderIsByNameAndReversedBeforeASnapshot) {
  for (const char* name : {"20-b", "10-a", "30-c"}) {
    add(after_, name);
    add(before_, name);
  }
  EXPECT_EQ(names(list()), "10-a 20-b 30-c ");
  EXPECT_EQ(names(list(HookPhase::kBeforeSnapshot)), "30-c 20-b 10-a ");
}

TEST_F(HookFolderTest, WhatEditorsAndPackagesLeaveIsPassedOver) {
  add(after_, "10-a");
  for (const char* name : {"10-a~", "10-a.dpkg-old", ".hidden", "README.txt"}) add(after_, name);
  EXPECT_EQ(names(list()), "10-a ");
}

TEST_F(HookFolderTest, ProgramThatOthersMayChangeIsRefused) {
  add(after_, "1-group", fs::perms(0775));
  add(after_, "2-world", fs::perms(0757));
  add(after_, "3-data", fs::perms(0644));
  fs::create_symlink("/bin/true", after_ + "/4-link");
  fs::create_directory(after_ + "/5-folder");
  add(after_, "6-good");
  const auto programs = list();
  ASSERT_EQ(programs.size(), 6U);
  EXPECT_EQ(programs[0].refused, "others than its owner may write it");
  EXPECT_EQ(programs[1].refused, "others than its owner may write it");
  EXPECT_EQ(programs[2].refused, "is not executable");
  EXPECT_EQ(programs[3].refused, "is not a regular file");
  EXPECT_EQ(programs[4].refused, "is not a regular file");
  EXPECT_EQ(programs[5].refused, "");
}

TEST_F(HookFolderTest, ProgramOfAnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: only root can give a file away";
  add(after_, "1-theirs");
  ASSERT_EQ(::chown((after_ + "/1-theirs").c_str(), 12345, 0), 0);
  EXPECT_EQ(list().at(0).refused, "belongs to user 12345");
}

TEST_F(HookFolderTest, FolderThatOthersMayWriteIsAnError) {
  add(after_, "10-a");
  fs::permissions(after_, fs::perms(0777));
  auto programs = list_hook_programs(top_, HookPhase::kAfterRestore);
  ASSERT_FALSE(programs);
  EXPECT_NE(programs.error().message().find("others than its owner may write it"),
            std::string::npos);
  fs::permissions(after_, fs::perms(0755));
  fs::permissions(top_, fs::perms(0777));
  EXPECT_FALSE(list_hook_programs(top_, HookPhase::kAfterRestore));
  fs::permissions(top_, fs::perms(0700));
}

TEST_F(HookFolderTest, FolderBehindALinkIsAnError) {
  fs::remove(after_);
  fs::create_directory_symlink(before_, after_);
  EXPECT_FALSE(list_hook_programs(top_, HookPhase::kAfterRestore));
}

}  // namespace
}  // namespace clonesafe::agent
