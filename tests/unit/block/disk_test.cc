#include "vmm_device/block/disk.h"

#include <random>

#include "tests/unit/block/fixture.h"

namespace clonesafe::block {
namespace {

using DiskTest = BlockTest;

TEST_F(DiskTest, WithoutALayerWritesGoToTheImage) {
  const std::string file = make_file("image", pattern(8));
  Disk disk(DiskImage::open(file, Lock::kExclusive).value(), false);
  EXPECT_TRUE(disk.in_place());
  ASSERT_TRUE(put(disk, 512, pattern(2, 'X')));
  EXPECT_EQ(contents(file).substr(512, 1024), pattern(2, 'X'));
  EXPECT_EQ(all(disk), contents(file));
}

TEST_F(DiskTest, WithALayerTheImageStaysAsItIs) {
  const std::string file = make_file("image", pattern(80));
  const std::string before = contents(file);
  Disk disk = layered(file, path("layer"));
  EXPECT_FALSE(disk.in_place());
  // From the middle of a cluster over two whole ones into the middle of a fourth.
  ASSERT_TRUE(put(disk, 4096 + 512, pattern(24, 'X')));
  std::string expected = before;
  expected.replace(4096 + 512, 24 * 512, pattern(24, 'X'));
  EXPECT_EQ(all(disk), expected);
  EXPECT_EQ(contents(file), before);
}

TEST_F(DiskTest, TwoLayersOverOneImageShareNothingThatIsWritten) {
  const std::string file = make_file("image", pattern(80));
  Disk one = layered(file, path("one"));
  Disk two = layered(file, path("two"));
  ASSERT_TRUE(put(one, 0, pattern(80, 'X')));
  EXPECT_EQ(all(two), pattern(80));
  ASSERT_TRUE(put(two, 0, pattern(8, 'Y')));
  EXPECT_EQ(all(one), pattern(80, 'X'));
}

TEST_F(DiskTest, ALayerOfALayerIsReadThroughBoth) {
  const std::string file = make_file("image", pattern(80));
  const auto identity = DiskImage::open(file, Lock::kShared)->identity().value();
  Disk disk = layered(file, path("lower"));
  ASSERT_TRUE(put(disk, 4096, pattern(16, 'L')));
  UniqueFd fd(::open(path("upper").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_TRUE(disk.add(Layer::create(std::move(fd), "upper", identity).value()));
  ASSERT_TRUE(put(disk, 8192 + 512, pattern(1, 'U')));
  std::string expected = pattern(80);
  expected.replace(4096, 8192, pattern(16, 'L'));
  expected.replace(8192 + 512, 512, pattern(1, 'U'));
  EXPECT_EQ(all(disk), expected);
  EXPECT_EQ(disk.layers()[1].count(), 1u) << "the lower layer's other cluster was copied up";
  // And as one.
  ASSERT_TRUE(disk.flatten(UniqueFd(::open(path("flat").c_str(), O_RDWR | O_CREAT, 0600)), "flat",
                           identity));
  EXPECT_EQ(all(layered(file, path("flat"))), expected);
}

TEST_F(DiskTest, DiscardsAndZeroesTakeNoRoomInTheLayer) {
  const std::string file = make_file("image", pattern(1024));
  Disk disk = layered(file, path("layer"));
  ASSERT_TRUE(put(disk, 0, pattern(1024, 'X')));
  ASSERT_TRUE(disk.flush());
  struct stat full{}, punched{};
  ASSERT_EQ(::stat(path("layer").c_str(), &full), 0);
  ASSERT_TRUE(disk.discard(0, 512 * 512));
  ASSERT_TRUE(disk.write_zeroes(512 * 512, 512 * 512, true));
  ASSERT_TRUE(disk.flush());
  ASSERT_EQ(::stat(path("layer").c_str(), &punched), 0);
  EXPECT_LT(punched.st_blocks, full.st_blocks - 900);
  EXPECT_EQ(all(disk), std::string(1024 * 512, '\0')) << "the base shone through";
}

// Whatever is done in whatever order, the disk reads as an array of bytes would, also after its
// layer was closed and opened again, and flattened.
TEST_F(DiskTest, BehavesLikeAnArrayOfSectors) {
  constexpr std::uint64_t kSectors = 77;  // the last cluster is not whole
  std::minstd_rand random(1);             // NOLINT: the same each time
  const auto below = [&](std::uint64_t limit) { return random() % limit; };
  for (const bool layer : {false, true}) {
    const std::string file = make_file(layer ? "base" : "image", pattern(kSectors));
    const auto open = [&] {
      return layer ? layered(file, path("layer"))
                   : Disk(DiskImage::open(file, Lock::kExclusive).value(), false);
    };
    std::optional<Disk> disk = open();
    std::string expected = pattern(kSectors);
    for (int turn = 0; turn < 600; ++turn) {
      const std::uint64_t first = below(kSectors);
      const std::uint64_t count = 1 + below(kSectors - first);
      const auto offset = static_cast<std::size_t>(first * kSectorSize);
      const auto size = static_cast<std::size_t>(count * kSectorSize);
      switch (below(5)) {
        case 0:
        case 1: {
          const std::string bytes = pattern(count, static_cast<char>('A' + turn % 20));
          // In pieces of odd sizes, as a guest's buffers are.
          std::string copy = bytes;
          const std::size_t cut = 1 + below(size - 1);
          const iovec parts[2] = {{copy.data(), cut}, {copy.data() + cut, size - cut}};
          ASSERT_TRUE(disk->write(parts, offset));
          expected.replace(offset, size, bytes);
          break;
        }
        case 2:
          ASSERT_TRUE(disk->write_zeroes(offset, size, below(2) == 0));
          expected.replace(offset, size, std::string(size, '\0'));
          break;
        case 3: {
          ASSERT_TRUE(disk->discard(offset, size));
          // What a discard leaves is not said: either.
          const std::string now = get(*disk, offset, size);
          for (std::size_t at = 0; at < size; at += kSectorSize) {
            const std::string sector = now.substr(at, kSectorSize);
            if (sector == std::string(kSectorSize, '\0'))
              expected.replace(offset + at, kSectorSize, sector);
          }
          break;
        }
        default:
          ASSERT_TRUE(disk->flush());
          disk.reset();
          disk = open();
      }
      ASSERT_EQ(get(*disk, offset, size), expected.substr(offset, size)) << "turn " << turn;
    }
    EXPECT_TRUE(all(*disk) == expected);
    if (!layer) continue;
    ASSERT_TRUE(disk->flatten(UniqueFd(::open(path("flat").c_str(), O_RDWR | O_CREAT, 0600)),
                              "flat", disk->base().value()));
    EXPECT_TRUE(all(layered(file, path("flat"))) == expected);
    EXPECT_EQ(contents(file), pattern(kSectors)) << "the base was written";
  }
}

}  // namespace
}  // namespace clonesafe::block
