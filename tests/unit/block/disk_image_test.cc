#include "vmm_device/block/disk_image.h"

#include <sys/stat.h>

#include "tests/unit/block/fixture.h"

namespace clonesafe::block {
namespace {

using testing::HasSubstr;

using DiskImageTest = BlockTest;

TEST_F(DiskImageTest, IsOpenedWithItsSize) {
  const auto image = DiskImage::open(make_file("image", pattern(5)), Lock::kExclusive);
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_EQ(image->size(), 5 * kSectorSize);
}

TEST_F(DiskImageTest, RefusesWhatIsNoImageAndNamesIt) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  struct {
    std::string file;
    std::string why;
  } const cases[] = {
      {path("missing"), "No such file"},
      {make_file("empty", ""), "empty"},
      {make_file("odd", std::string(1000, 'x')), "1000 bytes are not whole sectors"},
      {folder_.path().string(), "neither a regular file nor a block device"},
      {path("fifo"), "neither a regular file nor a block device"},
      {"/dev/zero", "neither a regular file nor a block device"},
  };
  for (const auto& bad : cases) {
    const auto image = DiskImage::open(bad.file, Lock::kShared);
    ASSERT_FALSE(image) << bad.file;
    EXPECT_THAT(image.error().message(), HasSubstr(bad.file));
    EXPECT_THAT(image.error().message(), HasSubstr(bad.why));
  }
}

TEST_F(DiskImageTest, OneWriterShutsOutEveryoneAndReadersShutOutWriters) {
  const std::string file = make_file("image", pattern(1));
  {
    const auto writer = DiskImage::open(file, Lock::kExclusive);
    ASSERT_TRUE(writer);
    const auto second = DiskImage::open(file, Lock::kExclusive);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().message(), file + ": in use by another process");
    const auto reader = DiskImage::open(file, Lock::kShared);
    ASSERT_FALSE(reader);
    EXPECT_EQ(reader.error().message(), file + ": being written by another process");
  }
  const auto reader = DiskImage::open(file, Lock::kShared);
  const auto second = DiskImage::open(file, Lock::kShared);
  EXPECT_TRUE(reader && second) << "the writer's lock went with it";
  EXPECT_FALSE(DiskImage::open(file, Lock::kExclusive));
}

TEST_F(DiskImageTest, IdentityChangesWithEveryWriteAndNotWithReads) {
  const std::string file = make_file("image", pattern(200));
  const auto identity = [&] { return DiskImage::open(file, Lock::kShared)->identity().value(); };
  const auto before = identity();
  (void)contents(file);
  EXPECT_EQ(identity(), before);
  timespec times[2] = {{0, UTIME_OMIT}, {1234, 5678}};
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  EXPECT_EQ(difference(before, identity()), "it was written since");
  ASSERT_EQ(::truncate(file.c_str(), 512), 0);
  EXPECT_EQ(difference(before, identity()), "it has 512 bytes, not 102400");
  make_file("image", pattern(200, 'b'));
  EXPECT_EQ(difference(before, identity()), "its contents are others");
}

TEST_F(DiskImageTest, ACutImageIsAnErrorForReadsAndWritesNeverZeros) {
  const std::string file = make_file("image", pattern(16));
  Disk disk(DiskImage::open(file, Lock::kExclusive).value(), false);
  ASSERT_EQ(::truncate(file.c_str(), 8 * kSectorSize), 0);
  EXPECT_EQ(get(disk, 0, kSectorSize), pattern(1));
  EXPECT_THAT(get(disk, 8 * kSectorSize, kSectorSize), HasSubstr("error: " + file + ": ends at"));
  EXPECT_THAT(get(disk, 7 * kSectorSize, 2 * kSectorSize), HasSubstr("error: "));
  for (const auto& status :
       {put(disk, 15 * kSectorSize, pattern(1)), disk.write_zeroes(15 * kSectorSize, 512, false),
        disk.discard(15 * kSectorSize, 512), disk.flush()}) {
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().message(), HasSubstr("was cut to 4096 of its 8192 bytes"));
  }
  EXPECT_EQ(std::filesystem::file_size(file), 8 * kSectorSize) << "a write made it longer again";
}

}  // namespace
}  // namespace clonesafe::block
