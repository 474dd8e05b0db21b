#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/snapshot/fixture.h"

namespace clonesafe::snapshot {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using WriteSnapshot = SnapshotTest;

TEST_F(WriteSnapshot, MakesAPrivateDirectoryOfTwoPrivateFiles) {
  const mode_t before = ::umask(0);
  write_small();
  ::umask(before);
  struct stat status = {};
  ASSERT_EQ(::stat(dir().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  ASSERT_EQ(::stat(state_file().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  ASSERT_EQ(::stat(memory_file().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_THAT(entries(), ElementsAre("snapshot"));
}

TEST_F(WriteSnapshot, IsMadeInAFolderThatHasNoNameHere) {
  const UniqueFd folder(::open(dir().parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  WriteRequest request = guest_.request();
  request.folder = folder.get();
  const auto written = write("/no/such/folder/snapshot", request);
  ASSERT_TRUE(written) << written.error().message();
  EXPECT_TRUE(verify(dir()));
}

TEST_F(WriteSnapshot, LeavesZeroPagesOut) {
  const Written written = write_small();
  EXPECT_EQ(written.memory_size, SmallGuest::kSize);
  EXPECT_EQ(written.data_size, 3 * SmallGuest::kPage);
  struct stat status = {};
  ASSERT_EQ(::stat(memory_file().c_str(), &status), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), SmallGuest::kSize);
  EXPECT_LT(static_cast<std::uint64_t>(status.st_blocks) * 512, SmallGuest::kSize);
  EXPECT_EQ(written.state_size, std::filesystem::file_size(state_file()));
}

TEST_F(WriteSnapshot, RefusesADirectoryThatExists) {
  std::filesystem::create_directory(dir());
  auto written = write(dir(), guest_.request());
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().message(), "snapshot " + dir().string() + ": already exists");
  EXPECT_THAT(entries(), ElementsAre("snapshot"));
  EXPECT_TRUE(std::filesystem::is_empty(dir()));
}

TEST_F(WriteSnapshot, LosesToADirectoryMadeMeanwhile) {
  WriteRequest request = guest_.request();
  request.progress = [&](std::uint64_t, std::uint64_t) {
    std::filesystem::create_directory(dir());
  };
  auto written = write(dir(), request);
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message(), HasSubstr("already exists"));
  EXPECT_THAT(entries(), ElementsAre("snapshot"));
}

TEST_F(WriteSnapshot, NamesAParentThatIsMissing) {
  auto written = write(temporary_.path() / "nowhere" / "snapshot", guest_.request());
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message(), HasSubstr("nowhere: No such file or directory"));
}

TEST_F(WriteSnapshot, TakesATrailingSlash) {
  EXPECT_TRUE(write(dir() / "", guest_.request()));
  EXPECT_TRUE(verify(dir()));
}

// Whatever fails half-way, at any byte of either file, nothing is left.
TEST_F(WriteSnapshot, LeavesNothingBehindWhenAFileCannotGrow) {
  write_small();
  const auto state_size = std::filesystem::file_size(state_file());
  std::filesystem::remove_all(dir());
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    for (const rlim_t limit :
         {rlim_t{0}, rlim_t{4096}, rlim_t{state_size - 1}, rlim_t{SmallGuest::kSize - 1}}) {
      const rlimit size{limit, RLIM_INFINITY};
      if (::setrlimit(RLIMIT_FSIZE, &size) != 0) ::_exit(2);
      if (write(dir(), guest_.request())) ::_exit(3);
      if (!entries().empty()) ::_exit(4);
    }
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(WriteSnapshot, LeavesNothingBehindOnAFullDisk) {
  const pid_t child = ::fork();
  if (child == 0) {
    // Too small for both files.
    if (::unshare(CLONE_NEWNS) != 0) ::_exit(77);
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(77);
    if (::mount("tmpfs", temporary_.path().c_str(), "tmpfs", 0, "size=16k") != 0) ::_exit(77);
    auto written = write(dir(), guest_.request());
    if (written) ::_exit(3);
    if (written.error().message().find("No space left on device") == std::string::npos) ::_exit(5);
    ::_exit(entries().empty() ? 0 : 4);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << status;
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no right to mount a small tmpfs";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(WriteSnapshot, WritesRangesOfSecretsAsZeros) {
  WriteRequest request = guest_.request();
  // Across two pages, and up to the end of the second region.
  const std::uint64_t second = SmallGuest::kHighStart + 13 * SmallGuest::kPage + 4000;
  request.zero_ranges = {{GuestAddress(5 * SmallGuest::kPage + 100), 32, "key"},
                         {GuestAddress(second), 96, "seed"}};
  auto expected = guest_.image();
  std::fill_n(expected.begin() + 5 * SmallGuest::kPage + 100, 32, std::byte{0});
  std::fill_n(expected.end() - 96, 96, std::byte{0});
  ASSERT_TRUE(write(dir(), request));
  EXPECT_TRUE(verify(dir()));
  EXPECT_EQ(read_file(memory_file()), expected);
}

// A reader that doesn't know the list would let a clone of the clone keep its secrets.
TEST_F(WriteSnapshot, IsOfFormat1Point2IfAndOnlyIfItHasSecretPages) {
  WriteRequest request = guest_.request();
  ASSERT_TRUE(write(dir(), request));
  EXPECT_EQ(open(dir())->header().format_minor, 0);
  request.sections.push_back({.tag = Tag::secret_pages, .bytes = bytes_of("a list")});
  ASSERT_TRUE(write(temporary_.path() / "secrets", request));
  const auto snapshot = open(temporary_.path() / "secrets");
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_EQ(snapshot->header().format_minor, 2);
  EXPECT_TRUE(snapshot->section(Tag::secret_pages)->critical);
}

TEST_F(WriteSnapshot, WritesNothingWhenASecretLiesOutsideMemory) {
  for (const auto& [start, size] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {SmallGuest::kLowPages * SmallGuest::kPage - 1, 2},
           {0x80000000, 1},
           {0, UINT64_MAX},
           {UINT64_MAX, 1}}) {
    WriteRequest request = guest_.request();
    request.zero_ranges = {{GuestAddress(start), size, "host key"}};
    auto written = write(dir(), request);
    ASSERT_FALSE(written);
    EXPECT_THAT(written.error().message(), HasSubstr("\"host key\" is not in guest memory"));
    EXPECT_THAT(entries(), IsEmpty());
  }
}

TEST_F(WriteSnapshot, RefusesWhatItsReaderWouldRefuse) {
  WriteRequest request = guest_.request();
  request.sections.push_back({.tag = Tag::machine_config, .bytes = {}});
  auto written = write(dir(), request);
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message(), HasSubstr("machine config: more than 1"));
  EXPECT_THAT(entries(), IsEmpty());
}

TEST_F(WriteSnapshot, GivesEachSnapshotAnIdOfItsOwn) {
  const Written first = write_small();
  auto second = write(temporary_.path() / "second", guest_.request());
  ASSERT_TRUE(second);
  EXPECT_NE(first.id, second->id);
  EXPECT_NE(first.digest, second->digest);
}

}  // namespace
}  // namespace clonesafe::snapshot
