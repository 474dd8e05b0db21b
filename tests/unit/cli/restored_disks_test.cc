// The disks of machines and of their clones, as their files are opened.
#include "vmm_device/cli/restored_disks.h"

#include "tests/unit/block/fixture.h"
#include "vmm_device/cli/disks.h"
#include "vmm_device/machine/disk_record.h"

namespace clonesafe::cli {
namespace {

using block::Disk;
using snapshot::Tag;
using testing::HasSubstr;

class CloneDisksTest : public block::BlockTest {
 protected:
  std::string snapshot_path() const { return path("snapshot"); }

  Disk open_one(const std::string& argument) {
    std::vector<DiskConfig> configs;
    const std::vector<DiskArgument> arguments = {parse_disk(argument).value()};
    auto disks = open_disks(arguments, configs);
    EXPECT_TRUE(disks) << disks.error().message();
    return std::move(disks->front());
  }
  // As Machine::save() and disk_files() do it.
  snapshot::Snapshot take(const Disk& disk) {
    auto request = guest_.request();
    request.sections.push_back({.tag = Tag::disk, .bytes = encode(record_of(disk, "").value())});
    if (!disk.layers().empty())
      request.files.push_back({.name = disk_layer_file(0), .write = [&](UniqueFd to) -> Status {
                                 auto flat = disk.flatten(std::move(to), "flat", *disk.base());
                                 if (!flat) return fail(flat.error());
                                 return {};
                               }});
    const auto written = snapshot::write(snapshot_path(), request);
    EXPECT_TRUE(written) << written.error().message();
    return snapshot::open(snapshot_path()).value();
  }
  // One clone's disk, whose folder it is.
  Disk clone(const snapshot::Snapshot& snapshot, const CloneDisks& options,
             const std::string& folder) {
    auto disks = open_restored_disks(snapshot, options);
    EXPECT_TRUE(disks) << disks.error().message();
    std::filesystem::create_directory(path(folder));
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(path(folder));
    const auto added = add_own_layers(*disks, options);
    EXPECT_TRUE(added) << added.error().message();
    std::filesystem::current_path(before);
    return std::move(disks->front());
  }
  std::string refusal(const snapshot::Snapshot& snapshot, const CloneDisks& options = {}) {
    const auto disks = open_restored_disks(snapshot, options);
    return disks ? "accepted" : disks.error().message();
  }
  snapshot::SmallGuest guest_;
};

TEST_F(CloneDisksTest, EachCloneHasASnapshotsLayerAndItsOwn) {
  const std::string image = make_file("image", pattern(80));
  Disk source = open_one(image + ",layer=" + path("layer"));
  ASSERT_TRUE(put(source, 0, pattern(8, 'S')));
  const auto snapshot = take(source);
  ASSERT_TRUE(put(source, 0, pattern(8, 'T')));
  std::string expected = pattern(80);
  expected.replace(0, 4096, pattern(8, 'S'));
  Disk one = clone(snapshot, {}, "1");
  Disk two = clone(snapshot, {.keep_layers = true}, "2");
  EXPECT_EQ(all(one), expected);
  EXPECT_EQ(all(two), expected);
  ASSERT_TRUE(put(one, 8192, pattern(8, '1')));
  ASSERT_TRUE(put(two, 8192, pattern(8, '2')));
  EXPECT_EQ(get(one, 8192, 4096), pattern(8, '1'));
  EXPECT_EQ(get(two, 8192, 4096), pattern(8, '2'));
  EXPECT_EQ(contents(image), pattern(80));
  EXPECT_TRUE(snapshot::verify(snapshot_path()));
  // Nothing is left of the one, and the other's lies over the image by itself.
  EXPECT_TRUE(std::filesystem::is_empty(path("1")));
  ASSERT_TRUE(two.flush());
  expected.replace(8192, 4096, pattern(8, '2'));
  const std::string kept = make_file("kept", contents(path("2/disk0.layer")));
  EXPECT_EQ(all(layered(image, kept)), expected);
}

TEST_F(CloneDisksTest, AnImageThatChangedOrIsAnotherIsRefused) {
  const std::string image = make_file("image", pattern(200));
  const auto snapshot = take(open_one(image));
  EXPECT_EQ(refusal(snapshot), "accepted");
  {
    std::fstream out(image, std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(199 * 512);
    out << "x";
  }
  struct stat status{};
  ASSERT_EQ(::stat(image.c_str(), &status), 0);
  timespec times[2] = {{0, UTIME_OMIT}, {status.st_mtim.tv_sec + 1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, image.c_str(), times, 0), 0);
  EXPECT_EQ(refusal(snapshot),
            "disk 0: " + image + ": not the image of the snapshot: it was written since");
  std::filesystem::remove(image);
  EXPECT_EQ(refusal(snapshot), "disk 0: " + image + ": No such file or directory");
}

TEST_F(CloneDisksTest, ACopyElsewhereDoesIfItsContentsAreTheSame) {
  const std::string image = make_file("image", pattern(80));
  Disk source = open_one(image + ",layer=" + path("layer"));
  ASSERT_TRUE(put(source, 0, pattern(8, 'S')));
  const auto snapshot = take(source);
  const std::string copy = make_file("copy", pattern(80));
  std::string expected = pattern(80);
  expected.replace(0, 4096, pattern(8, 'S'));
  EXPECT_EQ(all(clone(snapshot, {.images = {{0, copy}}}, "1")), expected);
  EXPECT_EQ(all(clone(snapshot, {.images = {{0, copy}}, .keep_layers = true}, "2")), expected);
  EXPECT_EQ(all(layered(copy, make_file("kept", contents(path("2/disk0.layer"))))), expected);
  const std::string other = make_file("other", pattern(80, 'q'));
  EXPECT_EQ(refusal(snapshot, {.images = {{0, other}}}),
            "disk 0: " + other + ": not the image of the snapshot: its contents are others");
  EXPECT_EQ(refusal(snapshot, {.images = {{1, copy}}}), "disk 1: the snapshot has 1 disks");
}

TEST_F(CloneDisksTest, AMoveGoesOnInPlaceOrKeepsItsLayer) {
  const std::string image = make_file("image", pattern(80));
  {
    const auto snapshot = take(open_one(image));
    Disk moved = clone(snapshot, {.move = true}, "1");
    EXPECT_TRUE(moved.in_place());
    EXPECT_THAT(refusal(snapshot), HasSubstr("being written by another process"));
    ASSERT_TRUE(put(moved, 0, pattern(1, 'M')));
    EXPECT_EQ(contents(image).substr(0, 512), pattern(1, 'M'));
  }
  std::filesystem::remove_all(snapshot_path());
  const auto snapshot = take(open_one(image + ",layer=temporary"));
  Disk moved = clone(snapshot, {.move = true}, "2");
  EXPECT_FALSE(moved.in_place());
  EXPECT_TRUE(std::filesystem::exists(path("2/disk0.layer")));
}

TEST_F(CloneDisksTest, ADamagedLayerOfASnapshotIsRefused) {
  const std::string image = make_file("image", pattern(80));
  Disk source = open_one(image + ",layer=" + path("layer"));
  ASSERT_TRUE(put(source, 0, pattern(8, 'S')));
  const auto snapshot = take(source);
  const std::string layer = snapshot_path() + "/disk0.layer";
  std::string bytes = contents(layer);
  bytes[8192 + 5] ^= 1;
  make_file("snapshot/disk0.layer", bytes);
  EXPECT_EQ(refusal(snapshot), "disk 0: " + layer + ": checksum mismatch");
}

TEST_F(CloneDisksTest, ADiskThatIsOnlyReadHasNoLayer) {
  const std::string image = make_file("image", pattern(80));
  const auto snapshot = take(open_one(image + ",ro"));
  const Disk disk = clone(snapshot, {.keep_layers = true}, "1");
  EXPECT_TRUE(disk.read_only());
  EXPECT_TRUE(disk.layers().empty());
  EXPECT_TRUE(std::filesystem::is_empty(path("1")));
}

TEST(ParseImage, TakesANumberAndAFile) {
  const auto image = parse_image("3=/srv/a=b,c.img");
  ASSERT_TRUE(image);
  EXPECT_EQ(image->disk, 3u);
  EXPECT_EQ(image->image, "/srv/a=b,c.img");
  for (const char* text : {"", "3", "3=", "=a", "x=a", "-1=a", "8=a", "99999999999999999999=a"})
    EXPECT_FALSE(parse_image(text)) << text;
}

}  // namespace
}  // namespace clonesafe::cli
