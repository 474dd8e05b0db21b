#include "vmm_device/cli/jail.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace clonesafe::cli {
namespace {

namespace fs = std::filesystem;

class JailRoot : public testing::Test {
 protected:
  JailRoot() {
    std::string name = (fs::temp_directory_path() / "root.XXXXXX").string();
    folder_ = fs::canonical(::mkdtemp(name.data()));
    fs::create_directories(folder_ / "a/b");
    fs::create_directories(folder_ / "ab");
    before_ = fs::current_path();
  }
  ~JailRoot() override {
    fs::current_path(before_);
    fs::remove_all(folder_);
  }
  fs::path folder_;
  fs::path before_;
};

TEST_F(JailRoot, IsTheDeepestFolderOfAllSockets) {
  EXPECT_EQ(*common_folder({}), "");
  EXPECT_EQ(*common_folder({folder_ / "a/vm.api"}), folder_ / "a");
  EXPECT_EQ(*common_folder({folder_ / "a/vm.api", folder_ / "a/vm.vsock"}), folder_ / "a");
  EXPECT_EQ(*common_folder({folder_ / "a/b/vm.api", folder_ / "a/vm.vsock"}), folder_ / "a");
  EXPECT_EQ(*common_folder({folder_ / "a/b/vm.api", folder_ / "ab/vm.vsock"}), folder_);
}

TEST_F(JailRoot, IsEnteredWithThePathsRelativeToIt) {
  fs::path api = folder_ / "a/b/../vm.api", vsock = folder_ / "a/b/vm.vsock", none;
  ASSERT_TRUE(enter_root({&api, &vsock, &none}));
  EXPECT_EQ(fs::current_path(), folder_ / "a");
  EXPECT_EQ(api, "vm.api");
  EXPECT_EQ(vsock, "b/vm.vsock");
  EXPECT_EQ(none, "");
}

TEST_F(JailRoot, SaysWhichFolderIsNotThere) {
  fs::path api = folder_ / "none/vm.api";
  const auto entered = enter_root({&api});
  ASSERT_FALSE(entered);
  EXPECT_EQ(entered.error().message(), (folder_ / "none").string() + ": No such file or directory");
}

}  // namespace
}  // namespace clonesafe::cli
