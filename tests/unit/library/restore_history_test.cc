#include "libclonesafe/core/restore_history.h"

#include <gtest/gtest.h>

namespace clonesafe::core {
namespace {

constexpr std::uint32_t kNothing = 0;
constexpr std::uint32_t kId = CS_REPEATED_RESTORE_ID;
constexpr std::uint32_t kSeed = CS_REPEATED_SEED;
constexpr std::uint32_t kVmGenerationId = CS_REPEATED_VM_GENERATION_ID;
constexpr int kPages[2] = {};

// What a page tells: numbers that stand for its fields, 0 for zeros.
struct Told {
  std::uint64_t generation = 1;
  std::uint8_t id = 0;
  std::uint8_t seed = 0;
  std::uint8_t vm_generation_id = 0;
};

class RestoreHistoryTest : public ::testing::Test {
 protected:
  std::uint32_t vmm(const Told& told) { return note(told, CLONESAFE_GENERATION_VMM_SLOT).what; }
  std::uint32_t agent(const Told& told) { return note(told, control_ & 1).what; }
  // Again what was told last.
  Repetition again() { return history_.note(page_, last_); }

  RestoreHistory history_;
  const void* page_ = &kPages[0];
  std::uint64_t control_ = 0;
  GenerationSnapshot last_;

 private:
  Repetition note(const Told& told, std::uint64_t slot) {
    control_ = CLONESAFE_GENERATION_NEXT(control_, slot);
    last_ = {.control = control_};
    last_.slot.generation = last_.slot.reseed_epoch = told.generation;
    std::memset(last_.slot.restore_id, told.id, sizeof(last_.slot.restore_id));
    std::memset(last_.slot.diversifier, told.seed, sizeof(last_.slot.diversifier));
    std::memset(last_.slot.vm_generation_id, told.vm_generation_id, 16);
    return history_.note(page_, last_);
  }
};

TEST_F(RestoreHistoryTest, RestoreThatIsPublishedSeveralTimesIsOne) {
  const Told told = {.generation = 2, .id = 2, .seed = 2, .vm_generation_id = 2};
  EXPECT_EQ(vmm(told), kNothing);
  EXPECT_EQ(agent(told), kNothing);
  EXPECT_EQ(agent(told), kNothing);
  EXPECT_EQ(again().what, kNothing);
  EXPECT_EQ(again().so_far, 0u);
}

TEST_F(RestoreHistoryTest, EachThingThatIsRepeatedIsNamed) {
  EXPECT_EQ(vmm({1, 1, 1, 1}), kNothing);
  EXPECT_EQ(vmm({2, 2, 2, 2}), kNothing);
  EXPECT_EQ(vmm({3, 1, 3, 3}), kId);
  EXPECT_EQ(vmm({4, 4, 2, 4}), kSeed);
  EXPECT_EQ(vmm({5, 5, 5, 1}), kVmGenerationId);
  EXPECT_EQ(again().so_far, 3u);
  EXPECT_EQ(vmm({6, 6, 6, 6}), kNothing) << "a fault that is over";
  EXPECT_EQ(again().so_far, 3u);
}

TEST_F(RestoreHistoryTest, WhatIsNotGivenIsNotRepeated) {
  EXPECT_EQ(vmm({1, 0, 0, 0}), kNothing);
  EXPECT_EQ(vmm({2, 0, 0, 0}), kNothing);
}

TEST_F(RestoreHistoryTest, SourceThatGoesOnKeepsItsVmGenerationId) {
  EXPECT_EQ(vmm({.generation = 1, .id = 1, .seed = 1, .vm_generation_id = 1}), kNothing);
  EXPECT_EQ(vmm({.generation = 1, .id = 2, .seed = 2, .vm_generation_id = 1}), kNothing);
}

// The VMM writes once for each restore, so its second write is another, however equal.
TEST_F(RestoreHistoryTest, RestoreWithTheNumbersOfTheLastOneIsARepetition) {
  const Told told = {.generation = 2, .id = 2, .seed = 2, .vm_generation_id = 2};
  EXPECT_EQ(vmm(told), kNothing);
  EXPECT_EQ(vmm(told), kId | kSeed | kVmGenerationId);
  EXPECT_EQ(agent(told), kId | kSeed | kVmGenerationId);
  EXPECT_EQ(again().so_far, 1u);
  EXPECT_EQ(vmm(told), kId | kSeed | kVmGenerationId);
  EXPECT_EQ(again().so_far, 2u);
}

TEST_F(RestoreHistoryTest, PageThatTheAgentMadeAnewRepeatsNothing) {
  const Told told = {.generation = 2, .id = 2, .seed = 2, .vm_generation_id = 2};
  EXPECT_EQ(vmm(told), kNothing);
  page_ = &kPages[1];
  control_ = 0;
  EXPECT_EQ(agent(told), kNothing);
  // A program that sees the new page first in the VMM's words for a restore that it knows.
  page_ = &kPages[0];
  EXPECT_EQ(vmm(told), kNothing);
}

TEST_F(RestoreHistoryTest, LookThatComesLateChangesNothing) {
  EXPECT_EQ(vmm({.generation = 1, .id = 1, .seed = 1}), kNothing);
  const GenerationSnapshot early = last_;
  EXPECT_EQ(agent({.generation = 1, .id = 1, .seed = 1}), kNothing);
  EXPECT_EQ(history_.note(page_, early).what, kNothing);
  EXPECT_EQ(vmm({.generation = 2, .id = 2, .seed = 2}), kNothing);
  EXPECT_EQ(history_.note(page_, early).what, kNothing);
  EXPECT_EQ(again().so_far, 0u);
}

TEST_F(RestoreHistoryTest, RemembersTheLastThirtyTwo) {
  const auto told = [](std::uint8_t number) {
    return Told{.generation = number, .id = number, .seed = number};
  };
  for (std::uint8_t i = 1; i <= 32; ++i) EXPECT_EQ(vmm(told(i)), kNothing);
  EXPECT_EQ(vmm(told(1)), kId | kSeed) << "the oldest of 32";
  EXPECT_EQ(vmm(told(2)), kId | kSeed);
  for (std::uint8_t i = 101; i <= 132; ++i) EXPECT_EQ(vmm(told(i)), kNothing);
  EXPECT_EQ(vmm(told(3)), kNothing) << "forgotten";
}

}  // namespace
}  // namespace clonesafe::core
