#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/generation/machine_for_testing.h"

namespace clonesafe {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

bool contains(std::span<const std::byte> text, std::span<const std::byte> part) {
  return !std::ranges::search(text, part).empty();
}

TEST(GenerationState, GivesBackIdentityAndRegistration) {
  MachineForTesting source;
  source.put_guest_page(agent_page_for_testing());
  SystemEntropy entropy;
  ASSERT_TRUE(source.devices.write_boot(entropy));
  ASSERT_TRUE(source.devices.register_page(MachineForTesting::kPage, kNonceForTesting));
  MachineForTesting clone({false, false, false, false});
  ASSERT_TRUE(clone.restore(source.save()));
  EXPECT_EQ(clone.devices.options(), GenerationOptions{});
  EXPECT_EQ(clone.devices.generation(), source.devices.generation());
  EXPECT_EQ(clone.devices.reseed_epoch(), source.devices.reseed_epoch());
  EXPECT_EQ(clone.devices.vm_generation_id(), source.devices.vm_generation_id());
  EXPECT_EQ(clone.devices.restore_id(), source.devices.restore_id());
  ASSERT_TRUE(clone.devices.registration());
  EXPECT_EQ(clone.devices.registration()->address, MachineForTesting::kPage);
  EXPECT_EQ(clone.devices.registration()->nonce, kNonceForTesting);
  EXPECT_EQ(clone.save(), source.save());
}

TEST(GenerationState, AMachineThatWritesNoRegisteredPageRefusesOneAndSaysSoInItsSnapshot) {
  MachineForTesting source({.registered_page = false});
  source.put_guest_page(agent_page_for_testing());
  SystemEntropy entropy;
  ASSERT_TRUE(source.devices.write_boot(entropy));
  EXPECT_FALSE(source.devices.register_page(MachineForTesting::kPage, kNonceForTesting));
  EXPECT_FALSE(source.devices.registration());
  MachineForTesting clone;
  ASSERT_TRUE(clone.restore(source.save()));
  EXPECT_FALSE(clone.devices.options().registered_page);
}

TEST(GenerationState, HoldsNoSeedNorMetadata) {
  MachineForTesting machine;
  machine.put_guest_page(agent_page_for_testing());
  SystemEntropy entropy;
  ASSERT_TRUE(machine.devices.write_boot(entropy));
  ASSERT_TRUE(machine.devices.register_page(MachineForTesting::kPage, kNonceForTesting));
  std::array<std::byte, 24> metadata;
  metadata.fill(std::byte{0x5a});
  for (int restore = 0; restore < 3; ++restore) {
    ASSERT_TRUE(machine.devices.write_restore(entropy, RestoreKind::kClone, metadata));
    const auto seed = machine.at<Seed>(layout::kSeedPage + 0x20);
    ASSERT_NE(seed, Seed{});
    const auto section = machine.save();
    // Any eight bytes of it would be too many.
    for (std::size_t offset = 0; offset + 8 <= seed.size(); ++offset) {
      EXPECT_FALSE(contains(section, std::span(seed).subspan(offset, 8))) << offset;
    }
    EXPECT_FALSE(contains(section, std::span(metadata).first(8)));
    EXPECT_TRUE(contains(section, machine.devices.vm_generation_id()));  // the search does find
  }
}

TEST(GenerationState, RestoredPagesHoldNoSeedUntilWritten) {
  MachineForTesting source;
  SystemEntropy entropy;
  ASSERT_TRUE(source.devices.write_boot(entropy));
  MachineForTesting clone;
  clone.pages.fill(std::byte{0xee});
  ASSERT_TRUE(clone.restore(source.save()));
  EXPECT_FALSE(clone.devices.seed_present());
  EXPECT_TRUE(clone.is_zero(layout::kSeedPage));
  EXPECT_EQ(clone.bytes_at(layout::kVmclockPage, 0x1000),
            source.bytes_at(layout::kVmclockPage, 0x1000));
  EXPECT_EQ(clone.bytes_at(layout::kRestorePage, 0x1000),
            source.bytes_at(layout::kRestorePage, 0x1000));
}

TEST(GenerationState, RefusesBytesCutOrAddedAnywhereAndChangesNothing) {
  MachineForTesting source;
  source.put_guest_page(agent_page_for_testing());
  SystemEntropy entropy;
  ASSERT_TRUE(source.devices.write_boot(entropy));
  ASSERT_TRUE(source.devices.register_page(MachineForTesting::kPage, kNonceForTesting));
  auto section = source.save();
  MachineForTesting clone;
  ASSERT_TRUE(clone.devices.write_boot(entropy));
  const auto pages = clone.pages;
  const auto before = clone.save();
  for (std::size_t size = 0; size < section.size(); ++size) {
    const auto status = clone.restore(std::span(section).first(size));
    ASSERT_FALSE(status) << size;
    EXPECT_THAT(status.error().message(), StartsWith("generation, byte "));
  }
  section.push_back(std::byte{0});
  EXPECT_THAT(clone.restore(section).error().message(), HasSubstr("1 bytes too many"));
  EXPECT_EQ(clone.pages, pages);
  EXPECT_EQ(clone.save(), before);
}

TEST(GenerationState, RefusesValuesThatNoMachineSaves) {
  MachineForTesting source;
  SystemEntropy entropy;
  ASSERT_TRUE(source.devices.write_boot(entropy));
  const auto section = source.save();
  const auto with = [&](std::size_t offset, std::initializer_list<int> bytes) {
    auto changed = section;
    for (const int byte : bytes) changed[offset++] = static_cast<std::byte>(byte);
    const auto restored = MachineForTesting().restore(changed);
    return restored ? std::string("accepted") : restored.error().message();
  };
  EXPECT_THAT(with(0, {2}), HasSubstr("unknown version 2"));
  EXPECT_THAT(with(4, {0x3f}), HasSubstr("unknown devices 63"));
  EXPECT_THAT(with(8, {0}), HasSubstr("unknown kind 0"));
  EXPECT_THAT(with(8, {5}), HasSubstr("unknown kind 5"));
  for (const std::size_t word : {12u, 20u, 28u}) {
    EXPECT_THAT(with(word, {0, 0, 0, 0, 0, 0, 0, 0}), HasSubstr("of zero"));
  }
  for (const int devices : {13, 11}) {  // VMCLOCK off, restore page off; both sequences there
    auto changed = section;
    changed[4] = static_cast<std::byte>(devices);
    std::memset(changed.data() + changed.size() - 9, 1, 8);
    EXPECT_THAT(MachineForTesting().restore(changed).error().message(),
                HasSubstr("a device that is off"));
  }
  EXPECT_THAT(with(section.size() - 1, {2}), HasSubstr("registration flag 2"));
}

TEST(GenerationState, GuestThatWritesToAPageThatIsOffCanStillBeRestored) {
  MachineForTesting source({false, false, false, false});
  SystemEntropy entropy;
  ASSERT_TRUE(source.devices.write_boot(entropy));
  source.pages.fill(std::byte{0xee});
  MachineForTesting clone;
  ASSERT_TRUE(clone.restore(source.save()));
  EXPECT_TRUE(clone.is_zero(layout::kVmclockPage));
}

TEST(GenerationState, RegistrationOutsideMemoryEndsAtTheNextRestore) {
  MachineForTesting source;
  source.put_guest_page(agent_page_for_testing());
  SystemEntropy entropy;
  ASSERT_TRUE(source.devices.write_boot(entropy));
  ASSERT_TRUE(source.devices.register_page(MachineForTesting::kPage, kNonceForTesting));
  const auto section = source.save();
  for (const std::uint64_t address : {0x0ull, 0xfffffffffffff000ull, 0x102000ull, 0x101008ull}) {
    auto changed = section;
    std::memcpy(changed.data() + changed.size() - 16 - 4 - 8, &address, sizeof address);
    MachineForTesting clone;
    clone.put_guest_page(agent_page_for_testing());
    const auto ram = clone.ram;
    ASSERT_TRUE(clone.restore(changed));
    ASSERT_TRUE(clone.devices.write_restore(entropy, RestoreKind::kClone, {}));
    EXPECT_FALSE(clone.devices.registration());
    EXPECT_THAT(clone.devices.registration_ended(), StartsWith("generation page at 0x"));
    EXPECT_EQ(clone.ram, ram);
  }
}

}  // namespace
}  // namespace clonesafe
