// What clones of a real guest are, and are not, on the kernel that the environment names.
#include <cstdio>
#include <fstream>
#include <set>
#include <string_view>

#include "clonesafe/abi/restore_page.h"
#include "clonesafe/abi/vmgenid.h"
#include "tests/lab/nested/clone_fixture.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;

TEST_F(CloneTest, ClonesOfASafeGuestHaveTheirOwnIdentityAndRandomness) {
  auto vm = boot({.arguments = kMasked, .cmdline = kNoProbes, .cpus = 2});
  ASSERT_TRUE(vm);
  const std::string source = identity(vm->guest());
  auto taken = vm->guest().snapshot(scratch_ / "snapshot", {"--stop"});
  ASSERT_TRUE(taken) << taken.error().message();
  ASSERT_EQ(taken->status, 0) << taken->output;

  // The first fits the restore page, the second comes by vsock.
  const std::string large(20'000, 'x');
  std::ofstream(scratch_ / "document-1") << "role=worker";
  std::ofstream(scratch_ / "document-2") << large;
  auto restored = Restored::restore(
      scratch_ / "snapshot", scratch_ / "clones", 2,
      {"--timeout", "110", "--wait", "safe", "--metadata", (scratch_ / "document-%d").string()});
  ASSERT_TRUE(restored);
  expect_repaired(*restored);
  EXPECT_EQ(restored->guest(1).get("cat /run/clonesafe/metadata"), "role=worker");
  EXPECT_TRUE(eventually(
      Seconds(20), [&] { return restored->guest(2).get("cat /run/clonesafe/metadata") == large; }));
  const std::set<std::string> identities = {source, identity(restored->guest(1)),
                                            identity(restored->guest(2))};
  EXPECT_EQ(identities.size(), 3u);
  EXPECT_NE(kernel_random(restored->guest(1)), kernel_random(restored->guest(2)));
  const std::set<std::string> ids = {
      std::string(restored->reports()[0].at("vm_generation_id").as_string()),
      std::string(restored->reports()[1].at("vm_generation_id").as_string())};
  EXPECT_EQ(ids.size(), 2u);
  EXPECT_EQ(agent_status(restored->guest(1), "state"), "safe");
}

// The twin of the test above: nothing but clonesafe makes its clones differ.
TEST_F(CloneTest, ClonesOfAGuestWithoutDevicesAndAgentAreEqual) {
  BootOptions options{.arguments = kMasked, .cmdline = kNoAgent, .cpus = 1};
  for (const char* option : {"--no-vmgenid", "--no-vmclock", "--no-restore-page"}) {
    options.arguments.emplace_back(option);
  }
  auto vm = boot(options);
  ASSERT_TRUE(vm);
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 2,
                                    {"--timeout", "110", "--wait", "running"});
  ASSERT_TRUE(restored);
  EXPECT_TRUE(restored->reports()[0].at("safe_us").is_null());
  EXPECT_EQ(identity(restored->guest(1)), identity(restored->guest(2)));
}

TEST_F(CloneTest, CloneOfACloneIsNewAgain) {
  auto vm = boot({.arguments = kMasked, .cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "first", {"--stop"})->status, 0);
  auto parent = Restored::restore(scratch_ / "first", scratch_ / "parent", 1,
                                  {"--timeout", "110", "--wait", "safe"});
  ASSERT_TRUE(parent);
  std::set<std::string> identities = {identity(parent->guest(1))};
  auto taken = parent->guest(1).snapshot(scratch_ / "second", {"--resume"});
  ASSERT_TRUE(taken) << taken.error().message();
  ASSERT_EQ(taken->status, 0) << taken->output;

  // Two restores of it within one second: nothing may depend on the time of day.
  auto one = Restored::restore(scratch_ / "second", scratch_ / "one", 1,
                               {"--timeout", "110", "--wait", "safe"});
  auto two = Restored::restore(scratch_ / "second", scratch_ / "two", 1,
                               {"--timeout", "110", "--wait", "safe"});
  ASSERT_TRUE(one && two);
  expect_repaired(*one);
  expect_repaired(*two);
  identities.insert(identity(one->guest(1)));
  identities.insert(identity(two->guest(1)));
  EXPECT_EQ(identities.size(), 3u);
  EXPECT_NE(kernel_random(one->guest(1)), kernel_random(two->guest(1)));
}

TEST_F(CloneTest, SourceThatGoesOnIsToldToReseedAndKeepsItsIdentity) {
  auto vm = boot({.cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  const std::string before = identity(vm->guest());
  const std::string generation = agent_status(vm->guest(), "generation");
  const std::string epoch = agent_status(vm->guest(), "reseed_epoch");
  ASSERT_FALSE(epoch.empty());
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--resume"})->status, 0);

  EXPECT_TRUE(eventually(Seconds(20), [&] {
    return agent_status(vm->guest(), "reseed_epoch") != epoch &&
           agent_status(vm->guest(), "state") == "safe";
  }));
  EXPECT_EQ(agent_status(vm->guest(), "kind"), "resume");
  EXPECT_EQ(vm->guest().get("clonesafectl status --json | grep -o "
                            "'\"name\":\"kernel_rng\",\"result\":\"[a-z]*\"'"),
            "\"name\":\"kernel_rng\",\"result\":\"ok\"");
  EXPECT_EQ(agent_status(vm->guest(), "generation"), generation);
  EXPECT_EQ(identity(vm->guest()), before);
}

TEST_F(CloneTest, AnnouncedSnapshotThawsCloneAndSource) {
  auto vm = boot({.cmdline = kNoProbes, .cpus = 2});
  ASSERT_TRUE(vm);
  const std::string heard = "cat /run/heard";
  vm->guest().get(
      "cd /etc/clonesafe && mkdir -p hooks.d/before-snapshot hooks.d/after-restore && "
      "printf '#!/bin/sh\\necho $CLONESAFE_PHASE $CLONESAFE_CAUSE >>/run/heard\\n' >hook && "
      "chmod 755 hook && cp -p hook hooks.d/before-snapshot/ && cp -p hook hooks.d/after-restore/");
  auto taken = vm->guest().snapshot(scratch_ / "snapshot", {"--prepare", "agent", "--resume"});
  ASSERT_TRUE(taken) << taken.error().message();
  ASSERT_EQ(taken->status, 0) << taken->output;
  const std::string frozen = "cat /sys/fs/cgroup/workload/cgroup.freeze";
  EXPECT_TRUE(eventually(Seconds(20), [&] { return vm->guest().get(frozen) == "0"; }));
  EXPECT_TRUE(eventually(Seconds(20), [&] {
    return vm->guest().get(heard) == "before-snapshot snapshot\nafter-restore resume";
  })) << vm->guest().get(heard);
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1,
                                    {"--timeout", "110", "--wait", "safe"});
  ASSERT_TRUE(restored);
  expect_repaired(*restored);
  EXPECT_EQ(restored->guest(1).get(frozen), "0");
  // By the time that the clone is safe.
  EXPECT_EQ(restored->guest(1).get(heard), "before-snapshot snapshot\nafter-restore clone");
}

TEST_F(CloneTest, CloneThatCantBeRepairedIsPoweredOffIfSoConfigured) {
  auto vm = boot({.cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  // A machine-id that can't be replaced.
  vm->guest().get(
      "printf 'on_failure = \"poweroff\"\\n[identity]\\nmachine_id = \"/proc/version\"\\n' "
      ">/etc/clonesafe/agent.toml && killall clonesafed && "
      "while pidof clonesafed; do sleep 0.1; done; (clonesafed --config /etc/clonesafe/agent.toml "
      "</dev/null >/run/second.log 2>&1 &) && "
      "clonesafectl wait --safe --timeout 60");
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1,
                                    {"--timeout", "110", "--wait", "running"});
  ASSERT_TRUE(restored);
  EXPECT_TRUE(restored->process().wait(Seconds(110))) << "it goes on";
}

// On 6.1 the kernel has no VMGENID driver, and with VMGENID off none can know: the agent alone
// makes them differ.
TEST_F(CloneTest, AgentMakesTheKernelsOutputDifferWithoutVmgenid) {
  BootOptions options{.arguments = kMasked, .cmdline = kNoProbes};
  options.arguments.emplace_back("--no-vmgenid");
  auto vm = boot(options);
  ASSERT_TRUE(vm);
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 2,
                                    {"--timeout", "110", "--wait", "safe"});
  ASSERT_TRUE(restored);
  expect_repaired(*restored);
  EXPECT_NE(kernel_random(restored->guest(1)), kernel_random(restored->guest(2)));
}

// How many 4 KiB pages differ between the memory of two snapshots.
int different_pages(const fs::path& one, const fs::path& other) {
  std::ifstream a(one / "memory.img", std::ios::binary), b(other / "memory.img", std::ios::binary);
  EXPECT_EQ(fs::file_size(one / "memory.img"), fs::file_size(other / "memory.img"));
  std::vector<char> page_a(4096), page_b(4096);
  int different = 0;
  while (a.read(page_a.data(), 4096) && b.read(page_b.data(), 4096)) different += page_a != page_b;
  EXPECT_TRUE(a.eof());
  return different;
}

TEST_F(CloneTest, IncrementalSnapshotsMakeTheMemoryOfAWholeOne) {
  auto vm = boot({.arguments = {"--track-dirty"}, .cmdline = kNoProbes, .cpus = 2});
  ASSERT_TRUE(vm);
  const auto take = [&](const std::string& name, const std::vector<std::string>& options) {
    auto taken = vm->guest().snapshot(scratch_ / name, options);
    ASSERT_TRUE(taken) << taken.error().message();
    ASSERT_EQ(taken->status, 0) << taken->output;
    RecordProperty(name, taken->output);
    std::printf("%s\n", taken->output.c_str());
  };
  const auto sum = [](const Guest& guest) {
    return guest.get("cat /run/one /run/two | sha256sum");
  };
  take("base", {});
  vm->guest().get("head -c 3000000 /dev/urandom > /run/one");
  take("one", {"--diff", scratch_ / "base"});
  vm->guest().get("head -c 5000000 /dev/urandom > /run/two; head -c 9000 /dev/urandom >> /run/one");
  const std::string expected = sum(vm->guest());
  // Paused, so that the two are of the same moment, but for the page that says so.
  ASSERT_EQ(
      run({Lab::get().clonevm, "pause", "--api", (scratch_ / "source/api").string()}, Seconds(120))
          ->status,
      0);
  take("two", {"--diff", scratch_ / "one"});
  take("whole", {});
  ASSERT_EQ(run({Lab::get().clonevm, "merge", (scratch_ / "two").string(), "--out",
                 (scratch_ / "merged").string()},
                Seconds(120))
                ->status,
            0);
  EXPECT_LE(different_pages(scratch_ / "merged", scratch_ / "whole"), 1);
  EXPECT_GT(different_pages(scratch_ / "base", scratch_ / "whole"), 1000);
  fs::remove_all(scratch_ / "whole");

  // A clone of the chain, and of a layer that a clone wrote.
  const std::vector<std::string> wait = {"--timeout", "110", "--wait", "safe", "--track-dirty"};
  auto clone = Restored::restore(scratch_ / "two", scratch_ / "clones", 1, wait);
  ASSERT_TRUE(clone);
  expect_repaired(*clone);
  EXPECT_EQ(sum(clone->guest(1)), expected);
  clone->guest(1).get("head -c 2000000 /dev/urandom > /run/two");
  const std::string of_clone = sum(clone->guest(1));
  auto taken = clone->guest(1).snapshot(scratch_ / "three", {"--diff", scratch_ / "two"});
  ASSERT_TRUE(taken && taken->status == 0) << taken->output;
  std::printf("%s\n", taken->output.c_str());
  auto again = Restored::restore(scratch_ / "three", scratch_ / "again", 1, wait);
  ASSERT_TRUE(again);
  expect_repaired(*again);
  EXPECT_EQ(sum(again->guest(1)), of_clone);
  EXPECT_NE(kernel_random(again->guest(1)), kernel_random(clone->guest(1)));
}

TEST_F(CloneTest, ForksOfARunningGuestAreNewAndTheSourceGoesOn) {
  auto vm = boot({.arguments = kMasked, .cmdline = kNoProbes, .cpus = 2});
  ASSERT_TRUE(vm);
  const std::string source = identity(vm->guest());
  const std::string epoch = agent_status(vm->guest(), "reseed_epoch");
  vm->guest().get("head -c 3000000 /dev/urandom > /run/data");
  const std::string data = vm->guest().get("sha256sum /run/data");
  auto forked = Restored::fork(scratch_ / "source/api", scratch_ / "clones", 2,
                               {"--timeout", "110", "--wait", "safe"});
  ASSERT_TRUE(forked);
  expect_repaired(*forked);
  const std::set<std::string> identities = {source, identity(forked->guest(1)),
                                            identity(forked->guest(2))};
  EXPECT_EQ(identities.size(), 3u);
  EXPECT_NE(kernel_random(forked->guest(1)), kernel_random(forked->guest(2)));
  for (const int clone : {1, 2}) EXPECT_EQ(forked->guest(clone).get("sha256sum /run/data"), data);

  EXPECT_TRUE(eventually(Seconds(20), [&] {
    return agent_status(vm->guest(), "reseed_epoch") != epoch &&
           agent_status(vm->guest(), "state") == "safe";
  }));
  EXPECT_EQ(identity(vm->guest()), source);
  EXPECT_NE(kernel_random(vm->guest()), kernel_random(forked->guest(1)));
}

// The notification comes before there is a driver to take it: the words are there all the same.
TEST_F(CloneTest, SnapshotBeforeAnyDriverIsBoundRestores) {
  auto vm = BootedVm::boot_until(scratch_ / "source", {.cmdline = "ignore_loglevel " + kNoProbes},
                                 "Linux version");
  ASSERT_TRUE(vm);
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1,
                                    {"--timeout", "110", "--wait", "running"});
  ASSERT_TRUE(restored);
  EXPECT_TRUE(eventually(Seconds(90), [&] {
    return read_file(scratch_ / "clones/1/serial.log").find("READY") != std::string::npos;
  })) << read_file(scratch_ / "clones/1/serial.log");
  const auto& report = restored->reports()[0];
  EXPECT_EQ(agent_status(restored->guest(1), "vm_generation_id"),
            std::string(report.at("vm_generation_id").as_string()));
  EXPECT_EQ(agent_status(restored->guest(1), "generation"),
            restored->guest(1).host_status("generation"));
  EXPECT_EQ(agent_status(restored->guest(1), "kind"), "clone");
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    constexpr const char* kDigits = "0123456789abcdef";
    text += kDigits[(static_cast<unsigned char>(byte)) >> 4];
    text += kDigits[static_cast<unsigned char>(byte) & 15];
  }
  return text;
}

// No half of a seed stands anywhere in the snapshot's files.
void expect_no_seed_in(const fs::path& directory, const std::vector<std::string>& draws) {
  constexpr std::size_t kHalf = CLONESAFE_SEED_SIZE / 2;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string content = read_file(entry.path());
    for (const std::string& draw : draws) {
      for (const std::size_t at : {kSeedAt, kSeedAt + kHalf}) {
        EXPECT_EQ(content.find(draw.substr(at, kHalf)), std::string::npos)
            << entry.path() << " holds a seed";
      }
    }
  }
}

TEST_F(CloneTest, NoSnapshotHoldsASeed) {
  for (const bool agent : {true, false}) {
    const std::string name = agent ? "agent" : "none";
    const fs::path log = scratch_ / (name + ".entropy");
    auto vm = BootedVm::boot(scratch_ / name,
                             {.cmdline = agent ? kNoProbes : kNoAgent, .entropy_log = true});
    ASSERT_TRUE(vm);
    ASSERT_EQ(vm->guest().snapshot(scratch_ / (name + ".parent"), {"--stop"})->status, 0);
    auto clone = Restored::restore(scratch_ / (name + ".parent"), scratch_ / (name + ".run"), 1,
                                   {"--timeout", "110", "--wait", agent ? "safe" : "running"}, log);
    ASSERT_TRUE(clone);
    ASSERT_EQ(clone->guest(1).snapshot(scratch_ / (name + ".child"), {"--stop"})->status, 0);

    auto draws = draws_in(read_file(log));
    ASSERT_EQ(draws.size(), 1u);
    // That this is the draw, and these its parts, shows in the id that the clone was given. It is
    // no secret, and stands in the clone's snapshot.
    const std::string id = draws[0].substr(kVmGenerationIdAt, CLONESAFE_VMGENID_SIZE);
    EXPECT_EQ(hex(id), std::string(clone->reports()[0].at("vm_generation_id").as_string()));
    EXPECT_NE(read_file((scratch_ / (name + ".child")) / "state.csn").find(id), std::string::npos);
    const auto boot = draws_in(read_file(vm->entropy_log()));
    ASSERT_GE(boot.size(), 1u);
    draws.insert(draws.end(), boot.begin(), boot.end());
    expect_no_seed_in(scratch_ / (name + ".parent"), draws);
    expect_no_seed_in(scratch_ / (name + ".child"), draws);
  }
}

}  // namespace
}  // namespace clonesafe::lab
