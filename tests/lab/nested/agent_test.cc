// The agent where it has less than it would like: not even itself, no /dev/mem, a kernel that is
// locked down; and what it does when nothing is to be done.
#include <cstdlib>
#include <cstring>

#include "clonesafe/abi/generation_page.h"
#include "tests/lab/nested/clone_fixture.h"

namespace clonesafe::lab {
namespace {

const std::string kStopAgent =
    "killall -9 clonesafed; while pidof clonesafed; do sleep 0.1; done; ";
const std::string kStartAgent =
    "(clonesafed --config /etc/clonesafe/agent.toml </dev/null >/run/clonesafed.log 2>&1 &); "
    "clonesafectl wait --safe --timeout 30 || { cat /run/clonesafed.log; false; }; ";

// The page as it lies in the guest's memory, read by a program that asks no agent.
clonesafe_generation_page page_of(const Guest& guest) {
  clonesafe_generation_page page = {};
  const std::string text = guest.get("od -An -v -tx1 " CLONESAFE_GENERATION_PAGE_PATH);
  auto* const bytes = reinterpret_cast<unsigned char*>(&page);
  const char* at = text.c_str();
  for (std::size_t i = 0; i < sizeof(page); ++i) {
    char* end = nullptr;
    bytes[i] = static_cast<unsigned char>(std::strtoul(at, &end, 16));
    if (end == at) {
      ADD_FAILURE() << "the page has " << i << " bytes";
      break;
    }
    at = end;
  }
  return page;
}

clonesafe_generation_slot slot_of(const clonesafe_generation_page& page) {
  const unsigned slot = CLONESAFE_GENERATION_SLOT_OF(page.control);
  EXPECT_LT(slot, CLONESAFE_GENERATION_SLOTS);
  return page.slots[slot % CLONESAFE_GENERATION_SLOTS];
}

std::string inode_of_page(const Guest& guest) {
  return guest.get("ls -i " CLONESAFE_GENERATION_PAGE_PATH);
}

// How often the agent and its helper have slept, and been woken again.
std::string sleeps_of_agent(const Guest& guest, const std::string& seconds) {
  return guest.get(
      "sleeps() { cat $(grep -lx 'Name:\tclonesafed.*' /proc/[0-9]*/status) | grep ^voluntary; }; "
      "a=$(sleeps); sleep " +
      seconds +
      "; b=$(sleeps); [ -n \"$a\" ] && [ \"$a\" = \"$b\" ] && echo asleep || echo $a, $b");
}

TEST_F(CloneTest, AgentSleepsWhileASourceCanWakeItAndNoLonger) {
  auto vm = boot({.cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  const Guest guest = vm->guest();
  EXPECT_TRUE(eventually(Seconds(20), [&] { return agent_status(guest, "tier") == "word"; }));
  // Whatever the request above woke it for is over at some time.
  EXPECT_TRUE(eventually(Seconds(60), [&] { return sleeps_of_agent(guest, "5") == "asleep"; }));
  // The twin: nothing can wake it, so it looks ten times a second.
  guest.get(kStopAgent +
            "printf '[sources]\\nkmsg = \"\"\\n[host]\\nenabled = false\\n' "
            ">/etc/clonesafe/agent.toml; " +
            kStartAgent);
  EXPECT_NE(sleeps_of_agent(guest, "5"), "asleep");
}

// Nobody who died can have said `safe` of a generation that he didn't see.
TEST_F(CloneTest, PageOfADeadAgentSaysRepairingUntilTheNextOneHasRepaired) {
  auto vm = boot({.arguments = kMasked, .cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  const std::string before = identity(vm->guest());
  const auto source = slot_of(page_of(vm->guest()));
  ASSERT_EQ(source.state, static_cast<std::uint32_t>(CLONESAFE_STATE_SAFE));
  const std::string inode = inode_of_page(vm->guest());
  vm->guest().get(kStopAgent);
  auto taken = vm->guest().snapshot(scratch_ / "snapshot", {"--resume"});
  ASSERT_TRUE(taken && taken->status == 0) << taken->output;

  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1,
                                    {"--timeout", "110", "--wait", "running"});
  ASSERT_TRUE(restored);
  const Guest clone = restored->guest(1);
  auto slot = slot_of(page_of(clone));
  EXPECT_EQ(slot.state, static_cast<std::uint32_t>(CLONESAFE_STATE_REPAIRING));
  EXPECT_NE(slot.generation, source.generation);
  EXPECT_EQ(identity(clone), before) << "who repaired it?";
  clone.get(kStartAgent);
  slot = slot_of(page_of(clone));
  EXPECT_EQ(slot.state, static_cast<std::uint32_t>(CLONESAFE_STATE_SAFE));
  EXPECT_NE(slot.kernel_rng_epoch, source.kernel_rng_epoch);
  EXPECT_NE(identity(clone), before);
  EXPECT_EQ(inode_of_page(clone), inode);

  // The source goes on after its snapshot: it must reseed, and remains who it is.
  slot = slot_of(page_of(vm->guest()));
  EXPECT_EQ(slot.state, static_cast<std::uint32_t>(CLONESAFE_STATE_REPAIRING));
  vm->guest().get(kStartAgent);
  slot = slot_of(page_of(vm->guest()));
  EXPECT_EQ(slot.state, static_cast<std::uint32_t>(CLONESAFE_STATE_SAFE));
  EXPECT_EQ(slot.generation, source.generation);
  EXPECT_EQ(identity(vm->guest()), before);
}

// Without /dev/mem there is no restore page and no VMGENID to read. What the VMM writes into the
// agent's own page is left, and has to do.
TEST_F(CloneTest, AgentWithoutPhysicalMemoryRepairsByItsOwnPage) {
  auto vm = boot({.arguments = kMasked, .cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  const Guest guest = vm->guest();
  const std::string before = identity(guest);
  const auto snapshot_and_clone = [&](const std::string& name) {
    EXPECT_EQ(agent_status(guest, "decided_by"), "generation_page");
    EXPECT_EQ(identity(guest), before) << "an agent that was started again took this for a clone";
    auto taken = guest.snapshot(scratch_ / name, {"--resume"});
    ASSERT_TRUE(taken && taken->status == 0) << taken->output;
    auto restored = Restored::restore(scratch_ / name, scratch_ / (name + "-clones"), 2,
                                      {"--timeout", "110", "--wait", "safe"});
    ASSERT_TRUE(restored);
    expect_repaired(*restored);
    EXPECT_EQ(restored->reports()[0].at("state").as_string(), "safe");
    EXPECT_NE(identity(restored->guest(1)), before);
    EXPECT_NE(identity(restored->guest(1)), identity(restored->guest(2)));
    EXPECT_NE(kernel_random(restored->guest(1)), kernel_random(restored->guest(2)));
  };

  guest.get(kStopAgent + "mv /dev/mem /dev/mem.away; " + kStartAgent);
  snapshot_and_clone("without");

  guest.get(kStopAgent +
            "mv /dev/mem.away /dev/mem; mount -t securityfs none /sys/kernel/security; "
            "echo confidentiality >/sys/kernel/security/lockdown; " +
            kStartAgent);
  EXPECT_NE(guest.get("clonesafectl status").find("/dev/mem"), std::string::npos);
  snapshot_and_clone("locked-down");
}

}  // namespace
}  // namespace clonesafe::lab
