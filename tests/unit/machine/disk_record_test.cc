#include "vmm_device/machine/disk_record.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "tests/unit/snapshot/fixture.h"
#include "vmm_device/machine/machine_config.h"

namespace clonesafe {
namespace {

using snapshot::SnapshotTest;
using snapshot::Tag;
using testing::HasSubstr;
using testing::Not;

DiskRecord sample_record() {
  DiskRecord record{.image = "/srv/disk 1.img",
                    .serial = "root",
                    .identity = {.size = 1 << 20, .modified_ns = 12345}};
  record.identity.head[7] = std::byte{9};
  return record;
}

class DiskRecordTest : public SnapshotTest {
 protected:
  // The records of a snapshot with these sections and files.
  Result<std::vector<DiskRecord>> records(const std::vector<std::vector<std::byte>>& sections,
                                          const std::vector<std::string>& files = {}) {
    std::filesystem::remove_all(dir());
    auto request = guest_.request();
    for (const auto& bytes : sections)
      request.sections.push_back({.tag = Tag::disk, .bytes = bytes});
    for (const auto& file : files) request.files.push_back(snapshot::sparse_file(file));
    EXPECT_TRUE(snapshot::write(dir(), request));
    auto opened = snapshot::open(dir());
    EXPECT_TRUE(opened);
    return decode_disk_records(*opened);
  }
  std::string refusal(const DiskRecord& record) {
    const auto decoded = records({encode(record)});
    return decoded ? "accepted" : decoded.error().message();
  }
};

TEST_F(DiskRecordTest, ComesBackAsItWas) {
  DiskRecord layered = sample_record();
  layered.has_layer = true;
  DiskRecord fixed = sample_record();
  fixed.read_only = true;
  const auto decoded = records({encode(fixed), encode(layered)}, {"disk1.layer"});
  ASSERT_TRUE(decoded) << decoded.error().message();
  ASSERT_EQ(decoded->size(), 2u);
  EXPECT_TRUE((*decoded)[0].read_only);
  EXPECT_TRUE((*decoded)[1].has_layer);
  EXPECT_EQ((*decoded)[1].image, "/srv/disk 1.img");
  EXPECT_EQ((*decoded)[1].serial, "root");
  EXPECT_EQ((*decoded)[1].identity, sample_record().identity);
  EXPECT_TRUE(records({})->empty());
}

TEST_F(DiskRecordTest, RefusesEveryTruncation) {
  const auto bytes = encode(sample_record());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(records({{bytes.begin(), bytes.begin() + static_cast<long>(size)}})) << size;
}

TEST_F(DiskRecordTest, RefusesWhatNoDiskIsAndPrintsNoForeignBytes) {
  DiskRecord record = sample_record();
  for (const char* image : {"", "relative", "/a\nb", "/\x1b[2Jboo"}) {
    record.image = image;
    EXPECT_THAT(refusal(record), HasSubstr("disk 0"));
    EXPECT_THAT(refusal(record), HasSubstr("no path of an image"));
    EXPECT_THAT(refusal(record), Not(HasSubstr("boo")));
  }
  record = sample_record();
  record.serial = "a b";
  EXPECT_THAT(refusal(record), HasSubstr("no serial number"));
  record = sample_record();
  record.read_only = record.has_layer = true;
  EXPECT_THAT(refusal(record), HasSubstr("flags 3"));
}

TEST_F(DiskRecordTest, EachLayerHasItsFileAndEachFileItsDisk) {
  DiskRecord layered = sample_record();
  layered.has_layer = true;
  EXPECT_THAT(refusal(layered), HasSubstr("the snapshot has no disk0.layer"));
  const auto wrong = records({encode(layered)}, {"disk1.layer"});
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message(), HasSubstr("the snapshot has no disk0.layer"));
  const auto unused = records({encode(sample_record())}, {"disk0.layer"});
  ASSERT_FALSE(unused);
  EXPECT_EQ(unused.error().message(), "attached file \"disk0.layer\": belongs to no disk");
}

}  // namespace
}  // namespace clonesafe
