// Files of a snapshot beside state and memory.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/unit/snapshot/fixture.h"
#include "vmm_device/snapshot/chain.h"
#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/image.h"

namespace clonesafe::snapshot {
namespace {

using testing::HasSubstr;

std::string contents(int fd) {
  std::string bytes(16 * 4096 + 1, '?');
  const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), 0);
  bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return bytes;
}

std::string expected(char letter = 'L') {
  std::string bytes(16 * 4096, '\0');
  for (const std::size_t page : {std::size_t{3}, std::size_t{12}})
    bytes.replace(page * 4096, 4096, 4096, letter);
  return bytes;
}

class AttachedTest : public SnapshotTest {
 protected:
  WriteRequest request() {
    auto request = guest_.request();
    request.files = {sparse_file("disk0.layer"), sparse_file("disk1.layer", 'M')};
    return request;
  }
  void write_with_files() {
    const auto written = write(dir(), request());
    ASSERT_TRUE(written) << written.error().message();
  }
  std::filesystem::path file() const { return dir() / "disk1.layer"; }
  void expect_damaged(const std::string& why) {
    const auto verified = verify(dir());
    ASSERT_FALSE(verified);
    EXPECT_THAT(verified.error().message(), HasSubstr(file().string() + ": " + why));
    const auto snapshot = open(dir());
    ASSERT_TRUE(snapshot);
    EXPECT_TRUE(snapshot->open_attached(0));
    EXPECT_FALSE(snapshot->open_attached(1));
  }
};

TEST_F(AttachedTest, ComeBackAsTheyWereWrittenWithTheirHoles) {
  write_with_files();
  const auto snapshot = verify(dir());
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_EQ(snapshot->header().format_minor, 3);
  ASSERT_EQ(snapshot->attached_files().size(), 2u);
  EXPECT_EQ(snapshot->attached_files()[1].name, "disk1.layer");
  const auto fd = snapshot->open_attached(1);
  ASSERT_TRUE(fd) << fd.error().message();
  EXPECT_TRUE(contents(fd->get()) == expected('M'));
  struct stat status{};
  ASSERT_EQ(::fstat(fd->get(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(AttachedTest, AnyByteThatDiffersIsFound) {
  for (const std::size_t at : {std::size_t{0}, std::size_t{3 * 4096}, std::size_t{12 * 4096 + 77},
                               std::size_t{16 * 4096 - 1}}) {
    std::filesystem::remove_all(dir());
    write_with_files();
    auto bytes = read_file(file());
    bytes[at] ^= std::byte{1};
    write_file(file(), bytes);
    expect_damaged("checksum mismatch");
  }
}

// Pages that changed places have the same bytes, and a hole that was filled with zeros is one.
TEST_F(AttachedTest, WhereAPageIsCountsAndHowZerosAreStoredDoesNot) {
  write_with_files();
  auto bytes = read_file(file());
  write_file(file(), bytes);
  EXPECT_TRUE(verify(dir())) << "without holes";
  std::swap_ranges(bytes.begin() + 3 * 4096, bytes.begin() + 4 * 4096, bytes.begin() + 5 * 4096);
  write_file(file(), bytes);
  expect_damaged("checksum mismatch");
}

TEST_F(AttachedTest, AFileThatIsCutExchangedOrMissingIsRefused) {
  write_with_files();
  const auto bytes = read_file(file());
  write_file(file(), std::span(bytes).first(15 * 4096));
  expect_damaged("61440 bytes, its snapshot says 65536");
  std::filesystem::remove(file());
  expect_damaged("No such file");
  std::filesystem::create_symlink("disk0.layer", file());
  expect_damaged("Too many levels of symbolic links");
}

TEST_F(AttachedTest, AFileThatNobodyNamedIsNoPart) {
  write_small();
  write_file(dir() / "disk0.layer", bytes_of("x"));
  const auto verified = verify(dir());
  ASSERT_FALSE(verified);
  EXPECT_THAT(verified.error().message(), HasSubstr("disk0.layer: no part of a snapshot"));
}

TEST_F(AttachedTest, NamesAreFileNamesAndNothingElse) {
  for (const char* name : {"", ".", "..", "../x", "a/b", "/x", "A", "state.csn", "memory.img",
                           "state.consumed", ".x", "x.", "a b", "x\n"}) {
    auto request = guest_.request();
    request.files = {sparse_file(name)};
    EXPECT_FALSE(write(dir(), request)) << name;
    EXPECT_TRUE(entries().empty()) << name;
  }
}

TEST_F(AttachedTest, AnErrorOfTheirWriterLeavesNothing) {
  auto request = guest_.request();
  request.files = {
      sparse_file("disk0.layer"),
      {.name = "disk1.layer", .write = [](const UniqueFd&) { return fail("no room"); }}};
  const auto written = write(dir(), request);
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message(), HasSubstr("no room"));
  EXPECT_TRUE(entries().empty());
}

TEST_F(AttachedTest, GoAlongWithAnImageSealed) {
  auto image = capture(request());
  ASSERT_TRUE(image) << image.error().message();
  ASSERT_EQ(image->files.size(), 2u);
  EXPECT_LT(::pwrite(image->files[0].get(), "x", 1, 0), 0) << "not sealed";
  const auto none = read_image(image->state.get(), image->memory.get());
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message(), HasSubstr("2 attached files, 0 came along"));
  std::swap(image->files[0], image->files[1]);
  const auto swapped = read_image(image->state.get(), image->memory.get(), std::move(image->files));
  ASSERT_TRUE(swapped);
  const auto wrong = swapped->open_attached(0);
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message(), HasSubstr("disk0.layer: checksum mismatch"));
}

TEST_F(AttachedTest, AMergeHasThoseOfTheTop) {
  const auto base = write(temporary_.path() / "base", guest_.request());
  ASSERT_TRUE(base);
  PageSet changed(34);
  auto over = request();
  over.parent = base->digest;
  over.changed = &changed;
  ASSERT_TRUE(write(temporary_.path() / "top", over));
  const auto chain = open_chain(temporary_.path() / "top");
  ASSERT_TRUE(chain);
  const auto merged = merge(*chain, dir());
  ASSERT_TRUE(merged) << merged.error().message();
  const auto snapshot = verify(dir());
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_TRUE(contents(snapshot->open_attached(1)->get()) == expected('M'));
}

}  // namespace
}  // namespace clonesafe::snapshot
