#include "vmm_device/generation/generation_devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/generation/machine_for_testing.h"

namespace clonesafe {
namespace {

using layout::kRestorePage;
using layout::kSeedPage;
using layout::kVmclockPage;
using layout::kVmgenidPage;
using ::testing::HasSubstr;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// Offsets and values as the specifications print them (VMCLOCK 1.1, docs/formats), not through our
// own headers.
TEST(GenerationDevices, BootWritesThePagesByteForByte) {
  MachineForTesting machine;
  SystemEntropy entropy;
  ASSERT_TRUE(machine.devices.write_boot(entropy));
  const std::uint64_t generation = machine.devices.generation();
  const VmGenerationId id = machine.devices.vm_generation_id();
  EXPECT_NE(generation, 0u);

  EXPECT_EQ(machine.at<VmGenerationId>(kVmgenidPage), id);

  EXPECT_EQ(machine.bytes_at(kVmclockPage, 4), bytes_of("VCLK"));
  EXPECT_EQ(machine.at<std::uint32_t>(kVmclockPage + 0x04), 0x1000u);
  EXPECT_EQ(machine.at<std::uint16_t>(kVmclockPage + 0x08), 1u);
  EXPECT_EQ(machine.at<std::uint8_t>(kVmclockPage + 0x0a), 0xffu);  // counter_id: invalid
  EXPECT_EQ(machine.at<std::uint32_t>(kVmclockPage + 0x0c), 0u);    // seq_count
  EXPECT_NE(machine.at<std::uint64_t>(kVmclockPage + 0x10), 0u);    // disruption_marker
  EXPECT_EQ(machine.at<std::uint64_t>(kVmclockPage + 0x18), 0x300u);
  EXPECT_EQ(machine.at<std::uint8_t>(kVmclockPage + 0x22), 0u);  // clock_status: unknown
  EXPECT_EQ(machine.at<std::uint64_t>(kVmclockPage + 0x68), generation);

  EXPECT_EQ(machine.bytes_at(kRestorePage, 8), bytes_of("CLSPRE01"));
  EXPECT_EQ(machine.at<std::uint32_t>(kRestorePage + 0x08), 1u);
  EXPECT_EQ(machine.at<std::uint32_t>(kRestorePage + 0x0c), 0x1000u);
  EXPECT_EQ(machine.at<std::uint32_t>(kRestorePage + 0x10) % 2, 0u);
  EXPECT_EQ(machine.at<std::uint32_t>(kRestorePage + 0x14), 1u);  // boot
  EXPECT_EQ(machine.at<std::uint64_t>(kRestorePage + 0x18), generation);
  EXPECT_EQ(machine.at<std::uint64_t>(kRestorePage + 0x20), machine.devices.reseed_epoch());
  EXPECT_EQ(machine.at<VmGenerationId>(kRestorePage + 0x28), id);
  EXPECT_EQ(machine.at<RestoreId>(kRestorePage + 0x38), machine.devices.restore_id());
  EXPECT_GT(machine.at<std::uint64_t>(kRestorePage + 0x48), 1'700'000'000'000'000'000u);
  EXPECT_EQ(machine.at<std::uint64_t>(kRestorePage + 0x50), kSeedPage);
  EXPECT_EQ(machine.at<std::uint32_t>(kRestorePage + 0x58), 0u);

  EXPECT_EQ(machine.bytes_at(kSeedPage, 8), bytes_of("CLSSED01"));
  EXPECT_EQ(machine.at<std::uint32_t>(kSeedPage + 0x08), 1u);
  EXPECT_EQ(machine.at<std::uint32_t>(kSeedPage + 0x0c), 1u);
  EXPECT_EQ(machine.at<RestoreId>(kSeedPage + 0x10), machine.devices.restore_id());
  EXPECT_NE(machine.at<Seed>(kSeedPage + 0x20), Seed{});
}

TEST(GenerationDevices, CloneMovesEveryWordAndSequence) {
  MachineForTesting machine;
  SystemEntropy entropy;
  ASSERT_TRUE(machine.devices.write_boot(entropy));
  const MachineForTesting& now = machine;
  const auto before = machine.pages;
  ASSERT_TRUE(machine.devices.write_restore(entropy, RestoreKind::kClone, bytes_of("clone=3")));
  const auto moved = [&](std::uint64_t address, std::size_t size) {
    const std::size_t offset = address - layout::kGenerationPages;
    return !std::equal(before.begin() + static_cast<long>(offset),
                       before.begin() + static_cast<long>(offset + size),
                       machine.pages.begin() + static_cast<long>(offset));
  };
  EXPECT_TRUE(moved(kVmgenidPage, 16));
  EXPECT_TRUE(moved(kVmclockPage + 0x10, 8));
  EXPECT_TRUE(moved(kVmclockPage + 0x68, 8));
  EXPECT_TRUE(moved(kRestorePage + 0x18, 8));
  EXPECT_TRUE(moved(kRestorePage + 0x20, 8));
  EXPECT_TRUE(moved(kRestorePage + 0x28, 16));
  EXPECT_TRUE(moved(kRestorePage + 0x38, 16));
  EXPECT_TRUE(moved(kSeedPage + 0x10, 16));
  EXPECT_TRUE(moved(kSeedPage + 0x20, 32));
  EXPECT_EQ(now.at<std::uint32_t>(kVmclockPage + 0x0c), 2u);
  EXPECT_EQ(now.at<std::uint32_t>(kRestorePage + 0x10), 4u);
  EXPECT_EQ(now.at<std::uint32_t>(kRestorePage + 0x14), 3u);
  EXPECT_EQ(now.at<std::uint32_t>(kRestorePage + 0x58), 7u);
  EXPECT_EQ(now.bytes_at(kRestorePage + 0x400, 8), bytes_of(std::string_view("clone=3\0", 8)));
}

TEST(GenerationDevices, ResumeKeepsIdentityAndMovesTheReseedEpoch) {
  MachineForTesting machine;
  SystemEntropy entropy;
  ASSERT_TRUE(machine.devices.write_boot(entropy));
  ASSERT_TRUE(machine.devices.write_restore(entropy, RestoreKind::kClone, bytes_of("kept")));
  const std::uint64_t generation = machine.devices.generation();
  const std::uint64_t reseed_epoch = machine.devices.reseed_epoch();
  const VmGenerationId id = machine.devices.vm_generation_id();
  const auto marker = machine.at<std::uint64_t>(kVmclockPage + 0x10);
  const auto sequence = machine.at<std::uint32_t>(kVmclockPage + 0x0c);
  const RestoreId restore_id = machine.devices.restore_id();
  const auto seed = machine.at<Seed>(kSeedPage + 0x20);

  ASSERT_TRUE(machine.devices.write_resume(entropy));
  EXPECT_EQ(machine.devices.generation(), generation);
  EXPECT_EQ(machine.at<std::uint64_t>(kVmclockPage + 0x68), generation);
  EXPECT_EQ(machine.at<std::uint64_t>(kRestorePage + 0x18), generation);
  EXPECT_EQ(machine.at<VmGenerationId>(kVmgenidPage), id);
  EXPECT_EQ(machine.at<std::uint64_t>(kVmclockPage + 0x10), marker);
  EXPECT_EQ(machine.at<std::uint32_t>(kVmclockPage + 0x0c), sequence + 2);
  EXPECT_EQ(machine.at<std::uint32_t>(kRestorePage + 0x14), 2u);
  EXPECT_NE(machine.at<std::uint64_t>(kRestorePage + 0x20), reseed_epoch);
  EXPECT_NE(machine.devices.restore_id(), restore_id);
  EXPECT_NE(machine.at<Seed>(kSeedPage + 0x20), seed);
  EXPECT_EQ(machine.bytes_at(kRestorePage + 0x400, 4), bytes_of("kept"));
}

TEST(GenerationDevices, ARestoreTellsTheGuestsTscAndAResumeTakesItBack) {
  MachineForTesting machine;
  SystemEntropy entropy;
  ASSERT_TRUE(machine.devices.write_boot(entropy));
  EXPECT_EQ(machine.at<std::uint32_t>(kRestorePage + 0x5c), 0u);
  ASSERT_TRUE(machine.devices.write_restore(entropy, RestoreKind::kClone, {},
                                            {.tsc = 0x1122334455667788, .khz = 2'096'009}));
  EXPECT_EQ(machine.at<std::uint32_t>(kRestorePage + 0x5c), 2'096'009u);
  EXPECT_EQ(machine.at<std::uint64_t>(kRestorePage + 0x60), 0x1122334455667788u);
  // The host's time is a new one then, and that TSC is not of it.
  ASSERT_TRUE(machine.devices.write_resume(entropy));
  EXPECT_EQ(machine.at<std::uint32_t>(kRestorePage + 0x5c), 0u);
  EXPECT_EQ(machine.at<std::uint64_t>(kRestorePage + 0x60), 0u);
}

TEST(GenerationDevices, MoveKeepsIdentityAndMovesEpochAndMarker) {
  MachineForTesting source;
  SystemEntropy entropy;
  ASSERT_TRUE(source.devices.write_boot(entropy));
  MachineForTesting moved;
  ASSERT_TRUE(moved.restore(source.save()));
  ASSERT_TRUE(moved.devices.write_restore(entropy, RestoreKind::kMove, {}));
  EXPECT_EQ(moved.devices.generation(), source.devices.generation());
  EXPECT_EQ(moved.at<VmGenerationId>(kVmgenidPage), source.at<VmGenerationId>(kVmgenidPage));
  EXPECT_NE(moved.devices.reseed_epoch(), source.devices.reseed_epoch());
  EXPECT_NE(moved.at<std::uint64_t>(kVmclockPage + 0x10),
            source.at<std::uint64_t>(kVmclockPage + 0x10));
  EXPECT_NE(moved.at<Seed>(kSeedPage + 0x20), source.at<Seed>(kSeedPage + 0x20));
  EXPECT_EQ(moved.at<std::uint32_t>(kRestorePage + 0x14), 4u);
}

TEST(GenerationDevices, TwoRestoresWithEqualInputsDiverge) {
  MachineForTesting source;
  SystemEntropy entropy;
  ASSERT_TRUE(source.devices.write_boot(entropy));
  const std::vector<std::byte> section = source.save();
  MachineForTesting first;
  MachineForTesting second;
  for (MachineForTesting* clone : {&first, &second}) {
    ASSERT_TRUE(clone->restore(section));
    ASSERT_TRUE(clone->devices.write_restore(entropy, RestoreKind::kClone, {}));
  }
  // Siblings' counters too: a counter that is only saved + 1 would not tell them apart.
  EXPECT_NE(first.at<std::uint64_t>(kVmclockPage + 0x68),
            second.at<std::uint64_t>(kVmclockPage + 0x68));
  EXPECT_NE(first.devices.generation(), second.devices.generation());
  EXPECT_NE(first.devices.reseed_epoch(), second.devices.reseed_epoch());
  EXPECT_NE(first.devices.vm_generation_id(), second.devices.vm_generation_id());
  EXPECT_NE(first.devices.restore_id(), second.devices.restore_id());
  EXPECT_NE(first.at<Seed>(kSeedPage + 0x20), second.at<Seed>(kSeedPage + 0x20));
}

TEST(GenerationDevices, SnapshotTakenWithSequencesOddEndsEvenAndMoved) {
  MachineForTesting source;
  SystemEntropy entropy;
  ASSERT_TRUE(source.devices.write_boot(entropy));
  source.set(kVmclockPage + 0x0c, std::uint32_t{41});
  source.set(kRestorePage + 0x10, std::uint32_t{0xffffffff});
  MachineForTesting clone;
  ASSERT_TRUE(clone.restore(source.save()));
  EXPECT_EQ(clone.at<std::uint32_t>(kVmclockPage + 0x0c), 41u);
  ASSERT_TRUE(clone.devices.write_restore(entropy, RestoreKind::kClone, {}));
  EXPECT_EQ(clone.at<std::uint32_t>(kVmclockPage + 0x0c), 42u);
  EXPECT_EQ(clone.at<std::uint32_t>(kRestorePage + 0x10), 0u);
}

TEST(GenerationDevices, EntropyFailureIsAnErrorAndLeavesThePagesWhole) {
  MachineForTesting machine;
  machine.put_guest_page(agent_page_for_testing());
  EntropyForTesting entropy;
  ASSERT_TRUE(machine.devices.write_boot(entropy));
  ASSERT_TRUE(machine.devices.register_page(MachineForTesting::kPage, kNonceForTesting));
  const auto pages = machine.pages;
  const auto ram = machine.ram;
  const auto section = machine.save();
  entropy.fail = true;
  for (const Status& status :
       {machine.devices.write_boot(entropy), machine.devices.write_resume(entropy),
        machine.devices.write_restore(entropy, RestoreKind::kClone, {})}) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().message(), "new generation: no entropy today");
  }
  EXPECT_EQ(machine.pages, pages);
  EXPECT_EQ(machine.ram, ram);
  EXPECT_EQ(machine.save(), section);
}

TEST(GenerationDevices, EachEventDrawsItsEntropyInOneCall) {
  MachineForTesting machine;
  EntropyForTesting entropy;
  ASSERT_TRUE(machine.devices.write_boot(entropy));
  ASSERT_TRUE(machine.devices.write_restore(entropy, RestoreKind::kClone, {}));
  ASSERT_TRUE(machine.devices.write_resume(entropy));
  EXPECT_EQ(entropy.calls, 3);
}

TEST(GenerationDevices, SourceThatRepeatsItselfIsRefused) {
  MachineForTesting machine;
  EntropyForTesting once(1);
  EntropyForTesting again(1);
  ASSERT_TRUE(machine.devices.write_boot(once));
  const auto pages = machine.pages;
  const auto status = machine.devices.write_restore(again, RestoreKind::kClone, {});
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message(), HasSubstr("repeats itself"));
  EXPECT_EQ(machine.pages, pages);
}

TEST(GenerationDevices, DeviceThatIsOffStaysZero) {
  SystemEntropy entropy;
  for (const GenerationOptions options :
       {GenerationOptions{.vmgenid = false}, GenerationOptions{.vmclock = false},
        GenerationOptions{.restore_page = false}, GenerationOptions{.seed = false},
        GenerationOptions{false, false, false, false}}) {
    MachineForTesting machine(options);
    ASSERT_TRUE(machine.devices.write_boot(entropy));
    MachineForTesting clone;
    ASSERT_TRUE(clone.restore(machine.save()));
    EXPECT_EQ(clone.devices.options(), options);
    ASSERT_TRUE(clone.devices.write_restore(entropy, RestoreKind::kClone, {}));
    for (const MachineForTesting* each : {&machine, &clone}) {
      EXPECT_EQ(each->is_zero(kVmgenidPage), !options.vmgenid);
      EXPECT_EQ(each->is_zero(kVmclockPage), !options.vmclock);
      EXPECT_EQ(each->is_zero(kRestorePage), !options.restore_page);
      EXPECT_EQ(each->is_zero(kSeedPage), !(options.seed && options.restore_page));
      EXPECT_EQ(each->at<std::uint64_t>(kRestorePage + 0x50) != 0,
                options.seed && options.restore_page);
    }
    EXPECT_NE(clone.devices.generation(), machine.devices.generation());
  }
}

TEST(GenerationDevices, WipeSeedLeavesNeitherSeedNorPresence) {
  MachineForTesting machine;
  SystemEntropy entropy;
  ASSERT_TRUE(machine.devices.write_boot(entropy));
  ASSERT_TRUE(machine.devices.seed_present());
  machine.devices.wipe_seed();
  EXPECT_FALSE(machine.devices.seed_present());
  EXPECT_EQ(machine.at<std::uint32_t>(kSeedPage + 0x0c), 0u);
  EXPECT_EQ(machine.at<Seed>(kSeedPage + 0x20), Seed{});
}

TEST(GenerationDevices, MetadataOfOneRestoreAreNotSeenInTheNext) {
  MachineForTesting machine;
  SystemEntropy entropy;
  ASSERT_TRUE(machine.devices.write_boot(entropy));
  const std::vector<std::byte> most(CLONESAFE_RESTORE_METADATA_MAX, std::byte{'x'});
  ASSERT_TRUE(machine.devices.write_restore(entropy, RestoreKind::kClone, most));
  EXPECT_EQ(machine.bytes_at(kRestorePage + 0x400, most.size()), most);
  ASSERT_TRUE(machine.devices.write_restore(entropy, RestoreKind::kClone, bytes_of("y")));
  auto expected = std::vector<std::byte>(CLONESAFE_RESTORE_METADATA_MAX, std::byte{0});
  expected[0] = std::byte{'y'};
  EXPECT_EQ(machine.bytes_at(kRestorePage + 0x400, expected.size()), expected);
  EXPECT_EQ(machine.at<std::uint32_t>(kRestorePage + 0x58), 1u);
}

TEST(GenerationDevices, RefusesWhatItCannotShow) {
  MachineForTesting machine;
  MachineForTesting without({.restore_page = false});
  SystemEntropy entropy;
  ASSERT_TRUE(machine.devices.write_boot(entropy));
  ASSERT_TRUE(without.devices.write_boot(entropy));
  const auto pages = machine.pages;
  const std::vector<std::byte> too_long(CLONESAFE_RESTORE_METADATA_MAX + 1);
  EXPECT_EQ(machine.devices.write_restore(entropy, RestoreKind::kClone, too_long).error().message(),
            "restore metadata: 3073 bytes, at most 3072 fit");
  EXPECT_THAT(
      without.devices.write_restore(entropy, RestoreKind::kClone, bytes_of("a")).error().message(),
      HasSubstr("no restore page"));
  EXPECT_FALSE(machine.devices.write_restore(entropy, RestoreKind::kBoot, {}));
  EXPECT_FALSE(machine.devices.write_restore(entropy, RestoreKind::kResume, {}));
  EXPECT_EQ(machine.pages, pages);
}

TEST(SystemEntropy, FillsAllAndDiffers) {
  std::array<std::byte, 1000> first{};
  std::array<std::byte, 1000> second{};
  SystemEntropy entropy;
  ASSERT_TRUE(entropy.fill(first));
  ASSERT_TRUE(entropy.fill(second));
  EXPECT_NE(first, second);
  EXPECT_FALSE(std::all_of(first.end() - 16, first.end(),
                           [](std::byte byte) { return byte == std::byte{0}; }));
}

}  // namespace
}  // namespace clonesafe
