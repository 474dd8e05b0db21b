// What the agent keeps of root's rights.
#include <linux/capability.h>

#include "tests/lab/nested/clone_fixture.h"

namespace clonesafe::lab {
namespace {

constexpr std::uint64_t kNeeded =
    std::uint64_t{1} << CAP_SYS_ADMIN | std::uint64_t{1} << CAP_DAC_OVERRIDE |
    std::uint64_t{1} << CAP_NET_BIND_SERVICE | std::uint64_t{1} << CAP_SYS_TIME |
    std::uint64_t{1} << CAP_NET_ADMIN;

std::uint64_t rights_of_agent(const Guest& guest, const std::string& set) {
  // Its own process, not its helper's, which has another name.
  const std::string text = guest.get("sed -n 's/^" + set +
                                     ":\t//p' $(grep -lx 'Name:\tclonesafed' /proc/[0-9]*/status)");
  EXPECT_FALSE(text.empty()) << set;
  return std::strtoull(text.c_str(), nullptr, 16);
}

void expect_only_what_is_needed(const Guest& guest) {
  for (const char* set : {"CapEff", "CapPrm", "CapBnd"})
    EXPECT_EQ(rights_of_agent(guest, set), kNeeded) << set;
  for (const char* set : {"CapInh", "CapAmb"}) EXPECT_EQ(rights_of_agent(guest, set), 0u) << set;
  EXPECT_EQ(rights_of_agent(guest, "NoNewPrivs"), 1u);
}

// The repairs, the registration of the page and the report are all done with what is left.
TEST_F(CloneTest, AgentRepairsWithTheFewRightsThatItKeeps) {
  auto vm = boot({.arguments = kMasked, .cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  expect_only_what_is_needed(vm->guest());
  const std::string before = identity(vm->guest());
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1,
                                    {"--timeout", "110", "--wait", "safe"});
  ASSERT_TRUE(restored);
  expect_repaired(*restored);
  const Guest clone = restored->guest(1);
  EXPECT_NE(identity(clone), before);
  EXPECT_EQ(agent_status(clone, "state"), "safe");
  EXPECT_TRUE(eventually(Seconds(20), [&] { return agent_status(clone, "tier") == "word"; }));
  expect_only_what_is_needed(clone);
}

std::string tier_of(const Guest& guest, const std::string& program) {
  return guest.get(program + " | sed -n 's/^tier *//p'");
}

// Of one program by three names, two of which have a profile (tests/lab/guest/apparmor).
TEST_F(CloneTest, AppArmorHidesThePageAndTheSnippetShowsIt) {
  auto vm = boot({.cmdline = kNoProbes + " apparmor=1 security=apparmor"});
  ASSERT_TRUE(vm);
  const Guest& guest = vm->guest();
  guest.get("mount -t securityfs securityfs /sys/kernel/security");
  for (const std::string profile : {"without", "with"}) {
    guest.get("dd bs=64k if=/etc/clonesafe/apparmor/" + profile +
              ".bin of=/sys/kernel/security/apparmor/.load 2>/dev/null");
  }
  EXPECT_EQ(guest.get("cut -d ' ' -f 1 /sys/kernel/security/apparmor/profiles | sort"),
            "clonesafe_with\nclonesafe_without");
  EXPECT_EQ(tier_of(guest, "status_example"), "word");
  EXPECT_EQ(tier_of(guest, "status_without"), "none");
  EXPECT_EQ(tier_of(guest, "status_with"), "word");
}

}  // namespace
}  // namespace clonesafe::lab
