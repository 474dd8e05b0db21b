#include "vmm_device/kvm/guest_time.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "vmm_device/core/state_codec.h"

namespace clonesafe::kvm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(TscFrequency, TheHostsOwnAndWhatKvmTakesForEqualNeedNoScaling) {
  EXPECT_TRUE(check_tsc_frequency(2'000'000, 2'000'000, false));
  EXPECT_TRUE(check_tsc_frequency(2'000'500, 2'000'000, false));
  EXPECT_TRUE(check_tsc_frequency(1'999'500, 2'000'000, false));
}

TEST(TscFrequency, AnotherOneIsRefusedWithBothNumbers) {
  for (const std::uint32_t guest : {2'000'501u, 1'999'499u, 3'000'000u, 1u}) {
    const auto checked = check_tsc_frequency(guest, 2'000'000, false);
    ASSERT_FALSE(checked) << guest;
    EXPECT_THAT(checked.error().message(), HasSubstr(std::to_string(guest) + " kHz"));
    EXPECT_THAT(checked.error().message(), HasSubstr("2000000 kHz"));
    EXPECT_THAT(checked.error().message(), testing::Not(HasSubstr("\n")));
  }
}

TEST(TscFrequency, AProcessorThatScalesTakesAny) {
  EXPECT_TRUE(check_tsc_frequency(3'000'000, 2'000'000, true));
  EXPECT_TRUE(check_tsc_frequency(1'000'000, 2'000'000, true));
}

TEST(TscFrequency, NoneAtAllIsRefusedEverywhere) {
  EXPECT_FALSE(check_tsc_frequency(0, 2'000'000, true));
  EXPECT_FALSE(check_tsc_frequency(0, 0, true));
}

// Readings as they come, one after the other.
std::function<Result<std::uint64_t>()> sequence(std::deque<std::uint64_t> values) {
  return [values]() mutable -> Result<std::uint64_t> {
    if (values.empty()) return fail("no more");
    const std::uint64_t value = values.front();
    values.pop_front();
    return value;
  };
}

TEST(ReadInstant, TakesTheClosestPairAndTheMiddleOfIt) {
  // Something held the first, second and last reading up.
  const auto instant =
      read_instant(sequence({1000, 9000, 20'000, 20'100, 90'000}), sequence({10, 20, 30, 40}));
  ASSERT_TRUE(instant);
  EXPECT_EQ(instant->tsc, 20'050u);
  EXPECT_EQ(instant->clock_ns, 30u);
}

TEST(ReadInstant, ATscThatWrapsIsStillATime) {
  const std::uint64_t high = ~std::uint64_t{0} - 9;
  const auto instant =
      read_instant(sequence({high, 10, 5000, 10'000, 15'000}), sequence({1, 2, 3, 4}));
  ASSERT_TRUE(instant);
  EXPECT_EQ(instant->tsc, 0u);
  EXPECT_EQ(instant->clock_ns, 1u);
}

TEST(ReadInstant, AnErrorOfEitherIsTheAnswer) {
  EXPECT_FALSE(read_instant(sequence({1}), sequence({1, 2, 3, 4})));
  EXPECT_FALSE(read_instant(sequence({1, 2, 3, 4, 5}), sequence({})));
}

// What each vCPU's TSC shows when the host's (scaled) shows `host`.
std::vector<std::uint64_t> shown(const std::vector<std::uint64_t>& offsets, std::uint64_t host) {
  std::vector<std::uint64_t> values;
  for (const std::uint64_t offset : offsets) values.push_back(host + offset);
  return values;
}

TEST(OffsetsAfter, EachTscGoesOnFromItsSavedValue) {
  const GuestTime saved{.clock_ns = 5'000'000, .tsc = {1'000'000, 1'000'000, 1'000'777}};
  const std::uint64_t host = 70'000'000'000;
  const auto offsets = offsets_after(saved, {.tsc = host, .clock_ns = 5'000'000}, 2'000'000);
  EXPECT_THAT(shown(offsets, host), ElementsAre(1'000'000, 1'000'000, 1'000'777));
  EXPECT_EQ(offsets[0], offsets[1]) << "KVM compares offsets to find TSCs that are equal";
}

TEST(OffsetsAfter, TimeSinceTheClockWasSetPassesForTheTscToo) {
  const GuestTime saved{.clock_ns = 5'000'000, .tsc = {1'000'000}};
  const std::uint64_t host = 70'000'000'000;
  // 2 GHz: 3 us are 6000 ticks.
  const auto offsets = offsets_after(saved, {.tsc = host, .clock_ns = 5'003'000}, 2'000'000);
  EXPECT_THAT(shown(offsets, host), ElementsAre(1'006'000));
}

TEST(OffsetsAfter, AClockThatReadsEarlierThanItWasSetTakesNoTimeBack) {
  const GuestTime saved{.clock_ns = 5'000'000, .tsc = {1'000'000}};
  const auto offsets = offsets_after(saved, {.tsc = 42, .clock_ns = 4'999'999}, 2'000'000);
  EXPECT_THAT(shown(offsets, 42), ElementsAre(1'000'000));
}

TEST(OffsetsAfter, AHostThatRunsLongerGivesANegativeOffset) {
  const GuestTime saved{.clock_ns = 0, .tsc = {100}};
  const auto offsets = offsets_after(saved, {.tsc = 1000, .clock_ns = 0}, 1'000'000);
  EXPECT_THAT(offsets, ElementsAre(static_cast<std::uint64_t>(-900)));
}

TEST(ClockSection, ComesBackAsItWas) {
  const auto bytes = encode_clock({.clock_ns = 123'456'789, .tsc = {}});
  const auto clock = decode_clock(bytes);
  ASSERT_TRUE(clock);
  EXPECT_EQ(*clock, 123'456'789u);
}

TEST(ClockSection, RefusesWhatNoGuestCountsTo) {
  EXPECT_FALSE(decode_clock(encode_clock({.clock_ns = std::uint64_t{1} << 63, .tsc = {}})));
  EXPECT_FALSE(decode_clock({}));
  EXPECT_FALSE(decode_clock(std::vector<std::byte>(9)));
}

}  // namespace
}  // namespace clonesafe::kvm
