#include "vmm_device/generation/registered_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libclonesafe/page/generation_page_view.h"
#include "libclonesafe/page/generation_page_writer.h"
#include "tests/unit/generation/machine_for_testing.h"

namespace clonesafe {
namespace {

using ::testing::HasSubstr;

class RegisteredPage : public ::testing::Test {
 protected:
  void SetUp() override {
    machine_.put_guest_page(agent_page_for_testing());
    ASSERT_TRUE(machine_.devices.write_boot(entropy_));
  }
  Status register_it() {
    return machine_.devices.register_page(MachineForTesting::kPage, kNonceForTesting);
  }
  Status clone() { return machine_.devices.write_restore(entropy_, RestoreKind::kClone, {}); }

  MachineForTesting machine_;
  SystemEntropy entropy_;
};

TEST_F(RegisteredPage, SaysRepairingBeforeTheFirstInstruction) {
  ASSERT_TRUE(register_it());
  EXPECT_EQ(machine_.guest_page().control, 5u << 2);  // registering alone writes nothing
  ASSERT_TRUE(clone());
  const auto page = machine_.guest_page();
  EXPECT_EQ(page.control, 6u << 2 | 2);
  const auto& slot = page.slots[2];
  EXPECT_EQ(slot.generation, machine_.devices.generation());
  EXPECT_EQ(slot.reseed_epoch, machine_.devices.reseed_epoch());
  EXPECT_EQ(slot.kernel_rng_epoch, 42u);  // the agent's to move
  EXPECT_EQ(slot.state, CLONESAFE_STATE_REPAIRING);
  EXPECT_EQ(slot.tier, CLONESAFE_TIER_WORD);
  EXPECT_EQ(slot.published_ns, 0u);
  EXPECT_EQ(slot.host_realtime_ns, machine_.at<std::uint64_t>(layout::kRestorePage + 0x48));
  EXPECT_EQ(std::memcmp(slot.restore_id, machine_.devices.restore_id().data(), 16), 0);
  EXPECT_EQ(std::memcmp(slot.vm_generation_id, machine_.devices.vm_generation_id().data(), 16), 0);
  // The agent's own slot is as it was.
  EXPECT_EQ(page.slots[0].generation, 77u);
  EXPECT_EQ(page.slots[0].state, CLONESAFE_STATE_SAFE);
}

TEST_F(RegisteredPage, DiversifierIsDerivedFromTheSeed) {
  ASSERT_TRUE(register_it());
  ASSERT_TRUE(clone());
  const auto expected = derive_diversifier(machine_.at<Seed>(layout::kSeedPage + 0x20)).value();
  EXPECT_EQ(std::memcmp(machine_.guest_page().slots[2].diversifier, expected.data(), 32), 0);
}

// By `printf 'clonesafe diversifier v1' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0001...1f`.
TEST_F(RegisteredPage, DiversifierIsHmacSha256OfTheLabel) {
  Seed seed;
  for (std::size_t i = 0; i < seed.size(); ++i) seed[i] = static_cast<std::byte>(i);
  const Diversifier diversifier = derive_diversifier(seed).value();
  std::string hex;
  for (const std::byte byte : diversifier) {
    char text[3];
    std::snprintf(text, sizeof text, "%02x", std::to_integer<unsigned>(byte));
    hex += text;
  }
  EXPECT_EQ(hex, "fad60ec9c9e46cdcdbf93935fdd12a968548bf9ee9de25368d74438db2059e0c");
}

TEST_F(RegisteredPage, SiblingsDifferAlsoWithoutSeed) {
  MachineForTesting source({.restore_page = false});
  source.put_guest_page(agent_page_for_testing());
  ASSERT_TRUE(source.devices.write_boot(entropy_));
  ASSERT_TRUE(source.devices.register_page(MachineForTesting::kPage, kNonceForTesting));
  MachineForTesting first;
  MachineForTesting second;
  for (MachineForTesting* each : {&first, &second}) {
    each->ram = source.ram;
    ASSERT_TRUE(each->restore(source.save()));
    ASSERT_TRUE(each->devices.write_restore(entropy_, RestoreKind::kClone, {}));
    const Diversifier none{};
    EXPECT_NE(std::memcmp(each->guest_page().slots[2].diversifier, none.data(), 32), 0);
  }
  EXPECT_NE(std::memcmp(first.guest_page().slots[2].diversifier,
                        second.guest_page().slots[2].diversifier, 32),
            0);
  EXPECT_NE(first.guest_page().slots[2].generation, second.guest_page().slots[2].generation);
}

TEST_F(RegisteredPage, CloneOfACloneIsCoveredBeforeItsAgentSpoke) {
  ASSERT_TRUE(register_it());
  ASSERT_TRUE(clone());
  MachineForTesting grandchild;
  grandchild.ram = machine_.ram;
  ASSERT_TRUE(grandchild.restore(machine_.save()));
  ASSERT_TRUE(grandchild.devices.write_restore(entropy_, RestoreKind::kClone, {}));
  const auto page = grandchild.guest_page();
  EXPECT_EQ(page.control, 7u << 2 | 2);
  EXPECT_EQ(page.slots[2].generation, grandchild.devices.generation());
  EXPECT_NE(page.slots[2].generation, machine_.devices.generation());
  EXPECT_EQ(page.slots[2].kernel_rng_epoch, 42u);
}

TEST_F(RegisteredPage, ResumedSourceKeepsItsGenerationThereToo) {
  ASSERT_TRUE(register_it());
  ASSERT_TRUE(clone());
  const auto before = machine_.guest_page().slots[2];
  ASSERT_TRUE(machine_.devices.write_resume(entropy_));
  const auto after = machine_.guest_page().slots[2];
  EXPECT_EQ(after.generation, before.generation);
  EXPECT_NE(after.reseed_epoch, before.reseed_epoch);
  EXPECT_NE(std::memcmp(after.diversifier, before.diversifier, 32), 0);
  EXPECT_EQ(after.state, CLONESAFE_STATE_REPAIRING);
}

TEST_F(RegisteredPage, AgentInterruptedWhilePublishingFindsItsCommitRefused) {
  ASSERT_TRUE(register_it());
  auto& page = machine_.live_guest_page();
  // The agent has filled its slot with "safe"; then the snapshot.
  const std::uint64_t base = page.control;
  const std::uint64_t next = fill_generation_slot(page, base, page.slots[0]);
  ASSERT_TRUE(clone());
  EXPECT_FALSE(publish_generation(page, base, next));
  GenerationSnapshot seen;
  ASSERT_EQ(read_generation_page(page, seen), PageCondition::kUsable);
  EXPECT_EQ(seen.control, 6u << 2 | 2);
  EXPECT_EQ(seen.slot.state, CLONESAFE_STATE_REPAIRING);
  // It reads again, and then it may.
  const std::uint64_t after = fill_generation_slot(page, seen.control, seen.slot);
  EXPECT_TRUE(publish_generation(page, seen.control, after));
}

TEST_F(RegisteredPage, ReaderCaughtInTheMiddleOfACopyReadsTheNewSlot) {
  ASSERT_TRUE(register_it());
  ASSERT_TRUE(clone());  // slot 2 is in force, and is the next to be written
  GenerationSnapshot seen;
  int copies = 0;
  ASSERT_EQ(read_generation_page(machine_.live_guest_page(), seen,
                                 [&] { EXPECT_TRUE(copies++ > 0 || clone()); }),
            PageCondition::kUsable);
  EXPECT_EQ(copies, 2);
  EXPECT_EQ(seen.slot.generation, machine_.devices.generation());
}

TEST_F(RegisteredPage, RefusesWhatIsNoGenerationPage) {
  const auto refused_with = [&](GuestAddress address, const PageNonce& nonce, const char* why) {
    const auto status = machine_.devices.register_page(address, nonce);
    ASSERT_FALSE(status) << why;
    EXPECT_THAT(status.error().message(), HasSubstr(why));
    EXPECT_FALSE(machine_.devices.registration());
  };
  refused_with(MachineForTesting::kPage + 8, kNonceForTesting, "0x101008: not aligned");
  refused_with(GuestAddress(0x102000), kNonceForTesting, "not in the guest's memory");
  refused_with(GuestAddress(0xfffffffffffff000), kNonceForTesting, "not in the guest's memory");
  refused_with(GuestAddress(MachineForTesting::kRamStart), kNonceForTesting, "magic");
  refused_with(MachineForTesting::kPage, PageNonce{}, "nonce");
  auto page = agent_page_for_testing();
  page.version = 2;
  machine_.put_guest_page(page);
  refused_with(MachineForTesting::kPage, kNonceForTesting, "version");
  page = agent_page_for_testing();
  page.size = 0x2000;
  machine_.put_guest_page(page);
  refused_with(MachineForTesting::kPage, kNonceForTesting, "size");
}

TEST_F(RegisteredPage, PageThatMovedIsNotTouched) {
  for (int what = 0; what < 4; ++what) {
    machine_.put_guest_page(agent_page_for_testing());
    ASSERT_TRUE(register_it());
    auto page = agent_page_for_testing();
    if (what == 0) page = {};  // reused for something else
    if (what == 1) page.nonce[15] ^= 1;
    if (what == 2) page.version = 7;
    if (what == 3) page.size = 1;
    machine_.put_guest_page(page);
    const auto ram = machine_.ram;
    ASSERT_TRUE(clone());  // the machine runs all the same
    EXPECT_EQ(machine_.ram, ram);
    EXPECT_FALSE(machine_.devices.registration());
    EXPECT_THAT(machine_.devices.registration_ended(), HasSubstr("0x101000"));
  }
}

TEST_F(RegisteredPage, ControlWordThatNamesNoSlotIsOverwritten) {
  ASSERT_TRUE(register_it());
  auto page = agent_page_for_testing();
  page.control = ~std::uint64_t{0};
  machine_.put_guest_page(page);
  ASSERT_TRUE(clone());
  EXPECT_EQ(machine_.guest_page().control, 1u << 2 | 2);  // count 0 would say "unpublished"
  EXPECT_EQ(machine_.guest_page().slots[2].kernel_rng_epoch, 0u);
  EXPECT_EQ(machine_.guest_page().slots[2].generation, machine_.devices.generation());
}

TEST_F(RegisteredPage, BootForgetsTheRegistration) {
  ASSERT_TRUE(register_it());
  ASSERT_TRUE(machine_.devices.write_boot(entropy_));
  EXPECT_FALSE(machine_.devices.registration());
}

// An incremental snapshot must have the page that the host wrote.
TEST_F(RegisteredPage, IsCountedAsWritten) {
  ASSERT_TRUE(register_it());
  PageSet written(machine_.memory.total_size() / PageSet::kPageSize);
  machine_.memory = GuestMemory(machine_.memory.regions(), &written);
  ASSERT_TRUE(clone());
  const std::uint64_t start = machine_.memory.regions()[0].start.value();
  EXPECT_EQ(written.count(), 1u);
  EXPECT_TRUE(written.contains((MachineForTesting::kPage.value() - start) / PageSet::kPageSize));
}

}  // namespace
}  // namespace clonesafe
