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
  sighting.has_vmclock = true;
  sighting.vmclock = counter;
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
  EXPECT_TRUE(is_separated(known, page(2, 0, CLONESAFE_STATE_DEGRADED)));
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
      shared.store(1, {.anything = true, .generation = i, .vmclock = i, .mark = i});
      const Known known = shared.load(1);
      ASSERT_EQ(known.generation, known.vmclock);
      ASSERT_EQ(known.generation, known.mark);
    }
  };
  std::thread other(work);
  work();
  other.join();
}

}  // namespace
}  // namespace clonesafe::core
