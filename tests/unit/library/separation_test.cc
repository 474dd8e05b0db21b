#include "libclonesafe/core/separation.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

namespace clonesafe::core {
namespace {

clonesafe_generation_slot slot_of(std::uint64_t generation, std::uint8_t diversifier,
                                  std::uint32_t state) {
  clonesafe_generation_slot slot = {};
  slot.generation = generation;
  slot.state = state;
  std::memset(slot.diversifier, diversifier, sizeof(slot.diversifier));
  return slot;
}

Sighting page(std::uint64_t generation, std::uint8_t diversifier,
              std::uint32_t state = CLONESAFE_STATE_REPAIRING) {
  return {.page_usable = true, .slot = slot_of(generation, diversifier, state)};
}
Sighting with_vmclock(Sighting sighting, std::uint64_t counter) {
  sighting.has_counter = true;
  sighting.counter = counter;
  return sighting;
}
Known after(const Sighting& sighting) {
  return known_after({}, sighting);
}

TEST(SeparationTest, NothingChangedSeparatesNobody) {
  const Sighting sighting = with_vmclock(page(1, 1), 5);
  EXPECT_TRUE(is_separated(after(sighting), sighting));
  EXPECT_TRUE(is_separated(after({}), {}));
}

TEST(SeparationTest, NewGenerationNeedsANewMarkOrAFinishedRepair) {
  const Known known = after(page(1, 1));
  EXPECT_TRUE(is_separated(known, page(2, 2)));
  EXPECT_FALSE(is_separated(known, page(2, 1)));
  EXPECT_FALSE(is_separated(known, page(2, 0)));
  EXPECT_TRUE(is_separated(known, page(2, 1, CLONESAFE_STATE_SAFE)));
  // Degraded may mean that the kernel's generator could not be told apart.
  EXPECT_FALSE(is_separated(known, page(2, 1, CLONESAFE_STATE_DEGRADED)));
  EXPECT_TRUE(is_separated(known, page(2, 2, CLONESAFE_STATE_DEGRADED)));
  Sighting with_hardware = page(2, 1);
  with_hardware.hardware_random = true;
  EXPECT_TRUE(is_separated(known, with_hardware));
}

TEST(SeparationTest, GenerationThatGoesBackIsAChangeToo) {
  EXPECT_FALSE(is_separated(after(page(5, 1)), page(4, 1)));
}

TEST(SeparationTest, VmclockAheadOfThePageWaitsForIt) {
  const Known known = after(with_vmclock(page(1, 1, CLONESAFE_STATE_SAFE), 5));
  EXPECT_FALSE(is_separated(known, with_vmclock(page(1, 1, CLONESAFE_STATE_SAFE), 6)));
  EXPECT_TRUE(is_separated(known, with_vmclock(page(2, 2), 6)));
}

TEST(SeparationTest, VmclockThatIsAheadIsNotTakenOver) {
  const Known known = after(with_vmclock(page(1, 1, CLONESAFE_STATE_SAFE), 5));
  Sighting sighting = with_vmclock(page(1, 1, CLONESAFE_STATE_SAFE), 6);
  sighting.hardware_random = true;
  const Known later = known_after(known, sighting);
  sighting.hardware_random = false;
  EXPECT_FALSE(is_separated(later, sighting));
}

TEST(SeparationTest, SourceThatAppearsIsNoClone) {
  EXPECT_TRUE(is_separated(after({}), with_vmclock({}, 9)));
  EXPECT_TRUE(is_separated(after({}), page(1, 0, CLONESAFE_STATE_SAFE)));
  const Known known = known_after(after({}), with_vmclock({}, 9));
  EXPECT_FALSE(is_separated(known, with_vmclock({}, 10)));
}

TEST(SeparationTest, FirstSeedingDuringARepairNeedsAMark) {
  EXPECT_FALSE(is_separated({}, page(1, 0)));
  EXPECT_TRUE(is_separated({}, page(1, 1)));
  EXPECT_TRUE(is_separated({}, page(1, 0, CLONESAFE_STATE_SAFE)));
  EXPECT_FALSE(known_at_start(page(1, 1)).anything);
  EXPECT_TRUE(known_at_start(page(1, 1, CLONESAFE_STATE_SAFE)).anything);
}

Sighting repeated(Sighting sighting, std::uint32_t what, std::uint64_t so_far = 1) {
  sighting.repetition = {.what = what, .so_far = so_far};
  return sighting;
}

TEST(SeparationTest, RepeatedSeedSeparatesNobodyUntilTheKernelIsSafe) {
  const Known known = after(page(1, 1));
  const auto seed = std::uint32_t{CS_REPEATED_SEED};
  EXPECT_FALSE(is_separated(known, repeated(page(2, 2), seed)));
  EXPECT_TRUE(is_separated(known, repeated(page(2, 2, CLONESAFE_STATE_SAFE), seed)));
  // A new seed with an old id is as good as any.
  EXPECT_TRUE(is_separated(known, repeated(page(2, 2), CS_REPEATED_RESTORE_ID)));
}

TEST(SeparationTest, RepeatedGenerationIsAChangeUntilItIsKnown) {
  const Known known = after(page(1, 1));
  const auto all = std::uint32_t{CS_REPEATED_SEED | CS_REPEATED_RESTORE_ID};
  EXPECT_FALSE(is_separated(known, repeated(page(1, 1), all)));
  const Sighting safe = repeated(page(1, 1, CLONESAFE_STATE_SAFE), all);
  EXPECT_TRUE(is_separated(known, safe));
  const Known later = known_after(known, safe);
  EXPECT_TRUE(is_separated(later, safe));
  EXPECT_FALSE(is_separated(later, repeated(page(1, 1), all, 2)));
}

TEST(SeparationTest, SaysWhatSeparates) {
  const Known known = after(page(1, 1, CLONESAFE_STATE_SAFE));
  const auto processor = [](Sighting sighting) {
    sighting.hardware_random = true;
    return sighting;
  };
  EXPECT_EQ(separation_of(known, page(2, 2)), Separation::kHost);
  EXPECT_EQ(separation_of(known, page(2, 0)), Separation::kNone);
  EXPECT_EQ(separation_of(known, processor(page(2, 0))), Separation::kProcessor);
  EXPECT_EQ(separation_of(known, page(2, 0, CLONESAFE_STATE_SAFE)), Separation::kKernel);
  EXPECT_EQ(separation_of(known, processor(page(2, 2))), Separation::kHost);
  EXPECT_EQ(separation_of(known, repeated(page(2, 2), CS_REPEATED_SEED)), Separation::kNone);
  EXPECT_EQ(separation_of(known, repeated(page(2, 2, CLONESAFE_STATE_SAFE), CS_REPEATED_SEED)),
            Separation::kKernel);
  EXPECT_EQ(separation_of({}, {}), Separation::kKernel);
  // The page in force is the source's, and what it holds every sibling has.
  const Known source = after(with_vmclock(page(1, 1, CLONESAFE_STATE_SAFE), 5));
  const Sighting clone = with_vmclock(page(1, 1, CLONESAFE_STATE_SAFE), 6);
  EXPECT_EQ(separation_of(source, clone), Separation::kNone);
  EXPECT_EQ(separation_of(source, processor(clone)), Separation::kProcessor);
}

TEST(SeparationTest, MarkSeesEveryByteOfDiversifierAndId) {
  clonesafe_generation_slot slot = {};
  EXPECT_EQ(mark_of(slot), 0u);
  for (std::size_t i = 0; i < sizeof(slot.diversifier); ++i) {
    slot = {};
    slot.diversifier[i] = 1;
    EXPECT_NE(mark_of(slot), 0u) << i;
  }
  for (std::size_t i = 0; i < sizeof(slot.vm_generation_id); ++i) {
    slot = {};
    slot.vm_generation_id[i] = 0x80;
    EXPECT_NE(mark_of(slot), 0u) << i;
  }
}

TEST(SharedKnownTest, ChildTakesOverALockThatNobodyWillReleaseAndForgets) {
  SharedKnown shared;
  shared.store(1, {.anything = true, .generation = 7});
  EXPECT_EQ(shared.load(1).generation, 7u);
  EXPECT_EQ(shared.load(2).generation, 7u);  // a child that found it unlocked
  shared.lock_for_testing(2);
  EXPECT_FALSE(shared.load(3).anything);
  shared.store(3, {.anything = true, .generation = 8});
  EXPECT_EQ(shared.load(3).generation, 8u);
}

TEST(SharedKnownTest, ThreadsDontTearIt) {
  SharedKnown shared;
  shared.store(1, {.anything = true});
  const auto work = [&] {
    for (std::uint64_t i = 1; i < 5000; ++i) {
      shared.store(1, {.anything = true, .generation = i, .counter = i, .mark = i});
      const Known known = shared.load(1);
      ASSERT_EQ(known.generation, known.counter);
      ASSERT_EQ(known.generation, known.mark);
    }
  };
  std::thread other(work);
  work();
  other.join();
}

}  // namespace
}  // namespace clonesafe::core
