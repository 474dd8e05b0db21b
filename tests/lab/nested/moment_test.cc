// Restores at awkward moments: at the same instant, in the middle of an update of VMCLOCK, without
// a kernel that reseeds, without an agent.
#include <signal.h>

#include <map>
#include <set>

#include "clonesafe/abi/restore_page.h"
#include "clonesafe/abi/vmclock.h"
#include "tests/lab/nested/clone_fixture.h"
#include "tests/lab/nested/snapshot_edit.h"
#include "vmm_device/core/layout.h"

namespace clonesafe::lab {
namespace {

// What the guest's root finds in `bytes` bytes at a physical address, as the device wrote it.
std::string physical(const Guest& guest, std::uint64_t address, int bytes) {
  constexpr std::uint64_t kPage = 4096;
  const std::string at = std::to_string(address % kPage);
  return guest.get(
      "python3 -I -c \"import mmap, os; page = mmap.mmap(os.open('/dev/mem', 0), 4096, "
      "mmap.MAP_SHARED, mmap.PROT_READ, offset=" +
      std::to_string(address - address % kPage) + "); print(int.from_bytes(page[" + at + ":" + at +
      " + " + std::to_string(bytes) + "], 'little'))\"");
}

std::string host_realtime(const Guest& guest) {
  return physical(guest, layout::kRestorePage + offsetof(clonesafe_restore_page, host_realtime_ns),
                  8);
}

TEST_F(CloneTest, RestoresAtTheSameInstantAreDistinct) {
  auto vm = boot({.arguments = kMasked, .cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  const std::vector<std::string> members = {"generation", "reseed_epoch", "vm_generation_id",
                                            "restore_id"};
  std::map<std::string, std::set<std::string>> seen;
  for (const auto& member : members) seen[member].insert(vm->guest().host_status(member));
  seen["identity"].insert(identity(vm->guest()));
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);

  // Both run before either is asked for anything, and their host's clock stands still.
  const std::string instant = "1790000000123456789";
  std::vector<std::unique_ptr<Restored>> both;
  for (const std::string name : {"one", "two"}) {
    both.push_back(Restored::start(
        scratch_ / "snapshot", scratch_ / name, 1, {"--timeout", "110", "--wait", "safe"},
        {.entropy_log = scratch_ / (name + ".entropy"), .realtime_ns = instant}));
    ASSERT_TRUE(both.back());
  }
  for (const auto& restored : both) {
    ASSERT_TRUE(restored->await_reports(1));
    expect_repaired(*restored);
    const Guest guest = restored->guest(1);
    EXPECT_EQ(host_realtime(guest), instant);
    for (const auto& member : members) seen[member].insert(guest.host_status(member));
    seen["identity"].insert(identity(guest));
    // It was announced to each: the agent knows what the host knows.
    EXPECT_EQ(agent_status(guest, "kind"), "clone");
    EXPECT_EQ(agent_status(guest, "restore_id"), guest.host_status("restore_id"));
  }
  for (const auto& [what, values] : seen) EXPECT_EQ(values.size(), 3u) << what;
  EXPECT_NE(kernel_random(both[0]->guest(1)), kernel_random(both[1]->guest(1)));

  std::set<std::string> seeds;
  for (const std::string name : {"one", "two"}) {
    const auto draws = draws_in(read_file(scratch_ / (name + ".entropy")));
    ASSERT_EQ(draws.size(), 1u);
    seeds.insert(draws[0].substr(kSeedAt, CLONESAFE_SEED_SIZE));
  }
  EXPECT_EQ(seeds.size(), 2u);
}

// The sequences in the generation devices' section (docs/formats/snapshot.md).
constexpr std::size_t kVmclockSequenceAt = 84;
constexpr std::size_t kRestoreSequenceAt = 88;
constexpr std::uint32_t kOdd = 0x1235;

TEST_F(CloneTest, SequencesThatWereOddInTheSnapshotEndEvenAndChanged) {
  auto vm = boot({.cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  // As if the VMM had been stopped in the middle of an update, which no vCPU can see it in.
  edit_sections(scratch_ / "snapshot", snapshot::Tag::generation, [](std::span<std::byte> bytes) {
    for (const std::size_t at : {kVmclockSequenceAt, kRestoreSequenceAt}) {
      std::uint32_t before = 0;
      ASSERT_LE(at + sizeof before, bytes.size());
      std::memcpy(&before, bytes.data() + at, sizeof before);
      // That these are the sequences shows in what a boot leaves there: small and even.
      ASSERT_EQ(before % 2, 0u) << at;
      ASSERT_LT(before, 16u) << at;
      std::memcpy(bytes.data() + at, &kOdd, sizeof kOdd);
    }
  });
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1,
                                    {"--timeout", "110", "--wait", "safe"});
  ASSERT_TRUE(restored);
  expect_repaired(*restored);
  for (const std::uint64_t at :
       {layout::kVmclockPage + offsetof(clonesafe_vmclock, seq_count),
        layout::kRestorePage + offsetof(clonesafe_restore_page, sequence)}) {
    EXPECT_EQ(physical(restored->guest(1), at, 4), std::to_string(kOdd + 1));
  }
}

class LibraryTest : public CloneTest {
 protected:
  // Two clones of a guest in which a program of the library's lives; what each draws first.
  std::vector<std::string> first_draws(BootOptions options, const std::string& before_snapshot) {
    options.arguments.insert(options.arguments.end(), kMasked.begin(), kMasked.end());
    auto vm = boot(options);
    if (!vm) return {};
    vm->guest().get("mkfifo /tmp/ask /tmp/answer");
    vm->guest().get("library_draws /tmp/ask /tmp/answer </dev/null >/dev/null 2>&1 &");
    const std::string ask = "echo >/tmp/ask; cat /tmp/answer";
    EXPECT_EQ(vm->guest().get(ask).size(), 64u);
    vm->guest().get(before_snapshot);
    EXPECT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
    auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 2,
                                      {"--timeout", "110", "--wait", "running"});
    if (!restored) return {};
    return {restored->guest(1).get(ask), restored->guest(2).get(ask)};
  }
};

// VMGENID is off and the agent is stopped, so no kernel reseeds; nor does the program ask one.
TEST_F(LibraryTest, DivergesWithoutVmgenidAndWithoutTheKernelsRandomness) {
  const auto draws = first_draws({.arguments = {"--no-vmgenid"}, .cmdline = kNoProbes},
                                 "kill -STOP $(pidof clonesafed)");
  ASSERT_EQ(draws.size(), 2u);
  EXPECT_EQ(draws[0].size(), 64u) << draws[0];
  EXPECT_NE(draws[0], draws[1]);
}

// No agent either: the program is root and finds the device's page by itself.
TEST_F(LibraryTest, DivergesByTheRestorePageAlone) {
  const auto draws =
      first_draws({.arguments = {"--no-vmgenid", "--no-vmclock"}, .cmdline = kNoAgent}, "true");
  ASSERT_EQ(draws.size(), 2u);
  EXPECT_EQ(draws[0].size(), 64u) << draws[0];
  EXPECT_NE(draws[0], draws[1]);
}

TEST_F(LibraryTest, DivergesByVmgenidAlone) {
  const auto draws = first_draws(
      {.arguments = {"--no-vmclock", "--no-restore-page"}, .cmdline = kNoAgent}, "true");
  ASSERT_EQ(draws.size(), 2u);
  EXPECT_EQ(draws[0].size(), 64u) << draws[0];
  EXPECT_NE(draws[0], draws[1]);
}

// Their twin: with nothing to see, the same program repeats itself.
TEST_F(LibraryTest, RepeatsItselfWithoutDevicesAndAgent) {
  const auto draws = first_draws(
      {.arguments = {"--no-vmgenid", "--no-vmclock", "--no-restore-page"}, .cmdline = kNoAgent},
      "true");
  ASSERT_EQ(draws.size(), 2u);
  EXPECT_EQ(draws[0].size(), 64u) << draws[0];
  EXPECT_EQ(draws[0], draws[1]);
}

TEST_F(CloneTest, GuestThatNeverStartsAnAgentRestoresAndIsNeverCalledSafe) {
  auto vm = boot({.cmdline = kNoAgent});
  ASSERT_TRUE(vm);
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  // Not told what to wait for: it must not wait for a report that can't come.
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 2);
  ASSERT_TRUE(restored);
  for (const auto& report : restored->reports()) {
    EXPECT_TRUE(report.at("safe_us").is_null()) << boost::json::serialize(report);
    EXPECT_TRUE(report.at("restore_us").is_number()) << boost::json::serialize(report);
  }
  EXPECT_EQ(restored->guest(1).get("echo alive"), "alive");
  EXPECT_NE(restored->guest(1).host_status("generation"),
            restored->guest(2).host_status("generation"));
  restored->process().signal(SIGTERM);
  const auto end = restored->process().wait(Seconds(60));
  ASSERT_TRUE(end) << end.error().message();
  EXPECT_EQ(*end, 0);
}

}  // namespace
}  // namespace clonesafe::lab
