#include <gmock/gmock.h>

#include <boost/json.hpp>

#include "tests/unit/supervisor/fixture.h"
#include "vmm_device/machine/disk_record.h"
#include "vmm_device/machine/machine_config.h"

namespace clonesafe::supervisor {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Inspect : public SupervisorTest {
 protected:
  void SetUp() override { write_snapshot(); }
};
using Verify = Inspect;

TEST_F(Inspect, PrintsATableForPeople) {
  EXPECT_EQ(inspect_command(dir(), false, out_.file(), err_.file()), 0);
  const std::string text = out_.text();
  EXPECT_THAT(text, HasSubstr("format        1.0\n"));
  EXPECT_THAT(text, HasSubstr("parent        none\n"));
  EXPECT_THAT(text, HasSubstr("memory        136 KiB, "));
  EXPECT_THAT(text, HasSubstr("vcpus         2\n"));
  EXPECT_THAT(text, HasSubstr("agent         was connected\n"));
  EXPECT_THAT(text, HasSubstr("region        0x0000000100000000  56 KiB\n"));
  EXPECT_THAT(text,
              HasSubstr("section       serial port             version 1, 0 bytes, not critical"));
}

TEST_F(Inspect, PrintsOneJsonObject) {
  EXPECT_EQ(inspect_command(dir(), true, out_.file(), err_.file()), 0);
  const auto object = boost::json::parse(out_.text()).as_object();
  EXPECT_EQ(object.at("format"), "1.0");
  EXPECT_EQ(object.at("memory_bytes"), 139264);
  EXPECT_TRUE(object.at("parent").is_null());
  EXPECT_EQ(object.at("vcpus"), 2);
  EXPECT_TRUE(object.at("balloon").is_null());
  EXPECT_EQ(object.at("sections").as_array().size(), 6u);
}

TEST_F(Inspect, ShowsDisksNetworkDevicesAndBalloon) {
  auto request = guest_.request();
  const std::filesystem::path image = temporary_.path() / "image";
  std::ofstream(image) << std::string(4096, 'i');
  const block::Disk disk(block::DiskImage::open(image, block::Lock::kShared).value(), true);
  request.sections.push_back(
      {.tag = snapshot::Tag::disk, .bytes = encode(record_of(disk, "root").value())});
  const NetConfig net{.tap = "vm0", .mac = {{{2, 0, 0, 0, 0, 1}}}};
  request.sections.push_back(
      {.tag = snapshot::Tag::network_devices, .bytes = encode(std::span(&net, 1))});
  request.sections.push_back(
      {.tag = snapshot::Tag::balloon, .bytes = encode(BalloonConfig{.reporting = true})});
  const auto with_devices = temporary_.path() / "with-devices";
  ASSERT_TRUE(snapshot::write(with_devices, request));
  EXPECT_EQ(inspect_command(with_devices, false, out_.file(), err_.file()), 0);
  EXPECT_THAT(out_.text(),
              HasSubstr("disk 0        " + image.string() + ", read-only, serial root\n"));
  EXPECT_THAT(out_.text(), HasSubstr("net 0         tap vm0, 02:00:00:00:00:01\n"));
  EXPECT_THAT(out_.text(), HasSubstr("balloon       with reports of free pages\n"));
  EXPECT_THAT(out_.text(), HasSubstr("format        1.5\n"));
  Captured as_json;
  EXPECT_EQ(inspect_command(with_devices, true, as_json.file(), err_.file()), 0);
  const auto object = boost::json::parse(as_json.text()).as_object();
  EXPECT_EQ(object.at("disks").as_array().at(0).at("image").as_string(), image.string());
  EXPECT_EQ(object.at("nets").as_array().at(0).at("tap").as_string(), "vm0");
  EXPECT_TRUE(object.at("balloon").as_object().at("reporting").as_bool());
}

TEST_F(Inspect, RefusesADamagedStateFile) {
  std::filesystem::resize_file(dir() / snapshot::kStateFile, 5000 - 700);
  EXPECT_EQ(inspect_command(dir(), true, out_.file(), err_.file()), 1);
  EXPECT_EQ(out_.text(), "");
  EXPECT_THAT(err_.lines(), ElementsAre(HasSubstr("clonevm: inspect: ")));
}

TEST_F(Verify, SaysThatAllIsAsItWasWritten) {
  EXPECT_EQ(verify_command(dir(), false, out_.file(), err_.file()), 0);
  EXPECT_THAT(out_.lines(), ElementsAre(HasSubstr("as it was written (136 KiB of memory")));
}

TEST_F(Verify, SaysWhatIsDamaged) {
  {
    std::fstream memory(dir() / snapshot::kMemoryFile);
    memory.seekp(70000);
    memory.put('x');
  }
  EXPECT_EQ(verify_command(dir(), true, out_.file(), err_.file()), 1);
  const auto object = boost::json::parse(out_.text()).as_object();
  EXPECT_EQ(object.at("ok"), false);
  EXPECT_THAT(err_.lines(), ElementsAre(HasSubstr("checksum mismatch in chunk 1, offset 65536")));
}

// `two` over `one`, in another folder than it.
class Incremental : public SupervisorTest {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(temporary_.path() / "elsewhere");
    auto request = guest_.request();
    auto below = snapshot::write(one_, request);
    ASSERT_TRUE(below);
    PageSet changed(34);
    changed.insert(3);
    guest_.low()[3 * 4096] = std::byte{7};
    request.parent = below->digest;
    request.changed = &changed;
    ASSERT_TRUE(snapshot::write(two_, request));
  }
  std::filesystem::path one_ = temporary_.path() / "elsewhere" / "one";
  std::filesystem::path two_ = temporary_.path() / "two";
};

TEST_F(Incremental, InspectSaysWhatItIs) {
  EXPECT_EQ(inspect_command(two_, false, out_.file(), err_.file()), 0);
  EXPECT_THAT(out_.text(), HasSubstr("incremental   1 of 34 pages\n"));
  EXPECT_THAT(out_.text(), HasSubstr("format        1.1\n"));
}

TEST_F(Incremental, VerifyNeedsTheParent) {
  EXPECT_EQ(verify_command(two_, false, out_.file(), err_.file()), 1);
  EXPECT_THAT(err_.lines(), ElementsAre(HasSubstr("two: incremental, and its parent")));
  EXPECT_EQ(verify_command(two_, false, out_.file(), err_.file(), {{one_}}), 0);
  EXPECT_THAT(out_.text(), HasSubstr("all that it lies over: 1\n"));
}

TEST_F(Incremental, MergeMakesOneWholeSnapshot) {
  const auto merged = temporary_.path() / "merged";
  const MergeOptions options{.snapshot = two_, .parents = {one_}, .out = merged};
  EXPECT_EQ(merge_command(options, out_.file(), err_.file()), 0) << err_.text();
  EXPECT_THAT(out_.lines(), ElementsAre(HasSubstr("merged: 2 snapshots in one, ")));
  std::filesystem::remove_all(two_);
  std::filesystem::remove_all(one_);
  EXPECT_EQ(verify_command(merged, false, out_.file(), err_.file()), 0);
  EXPECT_EQ(merge_command(options, out_.file(), err_.file()), 1);
  EXPECT_THAT(err_.lines(), ElementsAre(HasSubstr("clonevm: merge: ")));
}

}  // namespace
}  // namespace clonesafe::supervisor
