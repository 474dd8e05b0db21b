#include <gtest/gtest.h>

#include "guest_agent/repairs/boot_id.h"
#include "guest_agent/repairs/hostname.h"
#include "guest_agent/repairs/machine_id.h"
#include "guest_agent/repairs/metadata.h"
#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

constexpr char kOldBootId[] = "01234567-89ab-4def-8123-456789abcdef\n";

class IdentityTest : public testing::Test {
 protected:
  IdentityTest() {
    event_.kind = RestoreKind::kClone;
    event_.diversifier = bytes32(5);
    event_.restore.restore_id = id(6);
    event_.restore.generation = 0x00c0ffee12345678;
    folder_.write("machine-id", kOldMachineId);
    folder_.write("dbus-id", kOldMachineId);
    folder_.write("boot_id", kOldBootId);
  }

  Repair::Finding machine_id() {
    return MachineIdRepair(kernel_, folder_ / "machine-id", folder_ / "dbus-id").run(event_);
  }
  Repair::Finding boot_id() {
    return BootIdRepair(kernel_, folder_ / "boot_id", folder_ / "run/boot_id").run(event_);
  }
  Repair::Finding hostname(const std::string& pattern = "{base}-{generation}") {
    return HostnameRepair(kernel_, pattern, folder_ / "state").run(event_);
  }

  TemporaryFolder folder_;
  FakeKernel kernel_;
  RepairEvent event_;
};

TEST_F(IdentityTest, CloneGetsAnIdOfTheRightForm) {
  ASSERT_EQ(machine_id().outcome, Outcome::kOk);
  const std::string text = folder_.read("machine-id");
  ASSERT_EQ(text.size(), 33U);
  EXPECT_TRUE(parse_id(text.substr(0, 32)));
  EXPECT_EQ(text[12], '4');
  EXPECT_NE(text, kOldMachineId);
  EXPECT_EQ(folder_.read("dbus-id"), text);
}

TEST_F(IdentityTest, SiblingsDifferEvenIfTheKernelsGeneratorDoesNot) {
  kernel_.stuck = true;
  ASSERT_EQ(machine_id().outcome, Outcome::kOk);
  const std::string first = folder_.read("machine-id");
  event_.diversifier = bytes32(6);
  ASSERT_EQ(machine_id().outcome, Outcome::kOk);
  EXPECT_NE(folder_.read("machine-id"), first);
}

TEST_F(IdentityTest, OnlyACloneChangesItsIdentity) {
  for (const RestoreKind kind : {RestoreKind::kBoot, RestoreKind::kResume, RestoreKind::kMove}) {
    event_.kind = kind;
    EXPECT_EQ(machine_id().outcome, Outcome::kSkipped);
    EXPECT_EQ(boot_id().outcome, Outcome::kSkipped);
    EXPECT_EQ(hostname().outcome, Outcome::kSkipped);
  }
  EXPECT_EQ(folder_.read("machine-id"), kOldMachineId);
  EXPECT_EQ(folder_.read("boot_id"), kOldBootId);
  EXPECT_EQ(kernel_.name, "web");
}

TEST_F(IdentityTest, DbusLinkIsLeftToFollow) {
  std::filesystem::remove(folder_ / "dbus-id");
  std::filesystem::create_symlink("machine-id", folder_ / "dbus-id");
  ASSERT_EQ(machine_id().outcome, Outcome::kOk);
  EXPECT_TRUE(std::filesystem::is_symlink(folder_ / "dbus-id"));
  EXPECT_EQ(folder_.read("dbus-id"), folder_.read("machine-id"));
}

TEST_F(IdentityTest, MachineWithoutAnIdIsSkipped) {
  std::filesystem::remove(folder_ / "machine-id");
  EXPECT_EQ(machine_id().outcome, Outcome::kSkipped);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "machine-id"));
}

TEST_F(IdentityTest, IdThatCantBeWrittenIsAFailure) {
  std::filesystem::remove(folder_ / "machine-id");
  std::filesystem::create_directory(folder_ / "machine-id");
  EXPECT_EQ(machine_id().outcome, Outcome::kFailed);
}

TEST_F(IdentityTest, BootIdIsMountedOnceAndThenRewritten) {
  ASSERT_EQ(boot_id().outcome, Outcome::kOk);
  const std::string first = folder_.read("boot_id");
  EXPECT_EQ(first.size(), 37U);
  EXPECT_NE(first, kOldBootId);
  ASSERT_EQ(boot_id().outcome, Outcome::kOk);
  EXPECT_NE(folder_.read("boot_id"), first);
  EXPECT_EQ(std::count(kernel_.calls.begin(), kernel_.calls.end(), "mount"), 1);
}

TEST_F(IdentityTest, RefusedMountIsAFailure) {
  kernel_.errors = {{"mount", EPERM}};
  EXPECT_EQ(boot_id().outcome, Outcome::kFailed);
  EXPECT_EQ(folder_.read("boot_id"), kOldBootId);
}

TEST_F(IdentityTest, CloneOfACloneKeepsTheBaseName) {
  ASSERT_EQ(hostname().outcome, Outcome::kOk);
  EXPECT_EQ(kernel_.name, "web-00c0ffee");
  event_.restore.generation = 0xdeadbeef00000000;
  ASSERT_EQ(hostname().outcome, Outcome::kOk);
  EXPECT_EQ(kernel_.name, "web-deadbeef");
}

TEST_F(IdentityTest, NameSetByAnybodyElseIsANewBase) {
  hostname();
  kernel_.name = "db";
  hostname();
  EXPECT_EQ(kernel_.name, "db-00c0ffee");
}

TEST_F(IdentityTest, NamelessKernelGetsLocalhost) {
  kernel_.name = "(none)";
  hostname();
  EXPECT_EQ(kernel_.name, "localhost-00c0ffee");
}

TEST_F(IdentityTest, RefusedHostNameIsAFailure) {
  kernel_.errors = {{"hostname", EPERM}};
  EXPECT_EQ(hostname().outcome, Outcome::kFailed);
}

TEST(Hostname, LongBaseIsShortenedAndTheGenerationStays) {
  const auto name = make_hostname("{base}-{generation}", std::string(64, 'x'), 0xabcdef0123456789);
  ASSERT_TRUE(name);
  EXPECT_EQ(*name, std::string(55, 'x') + "-abcdef01");
}

TEST(Hostname, PatternThatMakesNoHostNameIsRefused) {
  EXPECT_FALSE(make_hostname("{base} {generation}", "web", 1));
  EXPECT_FALSE(make_hostname(std::string(65, 'x'), "web", 1));
}

TEST_F(IdentityTest, CloneHasItsOwnDocumentOrNone) {
  MetadataRepair repair(folder_ / "metadata");
  event_.restore.metadata = "worker=1";
  EXPECT_EQ(repair.run(event_).outcome, Outcome::kOk);
  EXPECT_EQ(folder_.read("metadata"), "worker=1");
  // The next clone is given none: its parent's is not its own.
  event_.restore.metadata.clear();
  EXPECT_EQ(repair.run(event_).outcome, Outcome::kSkipped);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "metadata"));
  EXPECT_EQ(repair.run(event_).outcome, Outcome::kSkipped);
}

TEST_F(IdentityTest, SourceThatGoesOnKeepsItsDocument) {
  MetadataRepair repair(folder_ / "metadata");
  folder_.write("metadata", "worker=1");
  event_.kind = RestoreKind::kResume;
  EXPECT_EQ(repair.run(event_).outcome, Outcome::kSkipped);
  EXPECT_EQ(folder_.read("metadata"), "worker=1");
}

TEST_F(IdentityTest, DocumentThatCantBeWrittenIsAFailure) {
  event_.restore.metadata = "worker=1";
  EXPECT_EQ(MetadataRepair(folder_ / "no/folder").run(event_).outcome, Outcome::kFailed);
}

}  // namespace
}  // namespace clonesafe::agent
