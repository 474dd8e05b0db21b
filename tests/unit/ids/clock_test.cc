// Identifiers under a clock that stands still, goes on, is set back or stands at its end.
#include <gmock/gmock.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "libclonesafe/ids/monotonic.h"
#include "tests/unit/ids/ids_laboratory.h"

namespace clonesafe::laboratory {
namespace {

using ids::get_big_endian;

class ClockTest : public IdsLaboratory {};

std::uint64_t milliseconds_of(const Value& value) {
  return get_big_endian(value.data(), 6);
}
std::uint64_t clock_sequence_of(const Value& uuid) {
  return get_big_endian(uuid.data() + 8, 2) & 0x3fff;
}
std::uint64_t node_of(const Value& uuid) {
  return get_big_endian(uuid.data() + 10, 6);
}
std::int64_t time_ns_of(const Value& uuid) {
  timespec time = {};
  EXPECT_EQ(cs_uuid_time(uuid.data(), &time), 0);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

TEST_F(ClockTest, VersionVariantTimeAndMulticastBit) {
  for (const auto& [kind, version] :
       {std::pair(Kind::kUuid1, 1), std::pair(Kind::kUuid6, 6), std::pair(Kind::kUuid7, 7)}) {
    set_clock(kSomeTimeNs);
    restart();
    const Value uuid = make(kind);
    EXPECT_EQ(uuid[6] >> 4, version);
    EXPECT_EQ(uuid[8] & 0xc0, 0x80);
    EXPECT_EQ(time_ns_of(uuid), version == 7 ? kSomeTimeNs / 1'000'000 * 1'000'000 : kSomeTimeNs);
    if (version != 7) {
      EXPECT_EQ(uuid[10] & 1, 1);
    }
  }
  EXPECT_EQ(milliseconds_of(make(Kind::kUlid)),
            static_cast<std::uint64_t>(kSomeTimeNs / 1'000'000));
}

TEST_F(ClockTest, ThreadKeepsItsNodeAndAnotherHasItsOwn) {
  const Value first = make(Kind::kUuid1);
  const Value second = make(Kind::kUuid6);
  EXPECT_EQ(node_of(first), node_of(second));
  EXPECT_EQ(clock_sequence_of(first), clock_sequence_of(second));
  std::thread([&] { EXPECT_NE(node_of(make(Kind::kUuid1)), node_of(first)); }).join();
}

TEST_F(ClockTest, WithinAMillisecondEachIsGreaterAndItsStepIsRandom) {
  for (const Kind kind : {Kind::kUuid7, Kind::kUlid}) {
    std::vector<Value> values;
    std::vector<std::uint64_t> steps;
    for (int i = 0; i < 1000; ++i) values.push_back(make(kind));
    for (std::size_t i = 1; i < values.size(); ++i) {
      ASSERT_LT(values[i - 1], values[i]);
      ASSERT_EQ(milliseconds_of(values[i]), milliseconds_of(values[0]));
      steps.push_back(get_big_endian(values[i].data() + 8, 8) -
                      get_big_endian(values[i - 1].data() + 8, 8));
    }
    // 48 bits, none of which is always the same.
    std::uint64_t any = 0;
    std::uint64_t all = ~std::uint64_t{0};
    for (const std::uint64_t step : steps) {
      any |= step - 1;
      all &= step - 1;
    }
    EXPECT_EQ(any & 0xffffffffffff, 0xffffffffffffu);
    EXPECT_EQ(all & 0xffffffffffff, 0u);
  }
}

TEST_F(ClockTest, NewMillisecondRedrawsTheWholeTail) {
  for (const Kind kind : {Kind::kUuid7, Kind::kUlid}) {
    Value any = {};
    Value all;
    all.fill(0xff);
    for (int i = 0; i < 100; ++i) {
      set_clock(kSomeTimeNs + kHourNs + i * std::int64_t{1'000'000});
      const Value value = make(kind);
      for (std::size_t k = 0; k < value.size(); ++k) {
        any[k] |= value[k];
        all[k] &= value[k];
      }
    }
    for (std::size_t k = 6; k < any.size(); ++k) {
      const int fixed = kind == Kind::kUlid ? 0 : k == 6 ? 0xf0 : k == 8 ? 0xc0 : 0;
      EXPECT_EQ(any[k] | fixed, 0xff) << k;
      EXPECT_EQ(all[k] & ~fixed, 0) << k;
    }
  }
}

TEST_F(ClockTest, SetBackByAnHourVersion7AndUlidGoOnUpwards) {
  for (const Kind kind : {Kind::kUuid7, Kind::kUlid}) {
    set_clock(kSomeTimeNs);
    restart();
    Value last = make(kind);
    for (const std::int64_t back : {kHourNs, kHourNs / 2, std::int64_t{1'000'000}}) {
      for (int i = 0; i < 100; ++i) {
        set_clock(kSomeTimeNs - back + i * std::int64_t{1'000});
        const Value value = make(kind);
        ASSERT_LT(last, value);
        EXPECT_EQ(milliseconds_of(value), static_cast<std::uint64_t>(kSomeTimeNs / 1'000'000));
        last = value;
      }
    }
    // And with the clock again, once that has caught up.
    set_clock(kSomeTimeNs + 1'000'000);
    const Value value = make(kind);
    EXPECT_LT(last, value);
    EXPECT_EQ(milliseconds_of(value), static_cast<std::uint64_t>(kSomeTimeNs / 1'000'000 + 1));
  }
}

// RFC 9562, 6.1: a clock set backwards changes the clock sequence.
TEST_F(ClockTest, SetBackByAnHourVersions1And6TakeTheNextClockSequence) {
  for (const Kind kind : {Kind::kUuid1, Kind::kUuid6}) {
    set_clock(kSomeTimeNs);
    restart();
    std::vector<Value> values;
    for (int i = 0; i < 50; ++i) values.push_back(make(kind));
    const Value before = values.back();
    // The same times again: only the sequence and the node tell them apart.
    for (int i = 1; i <= 5; ++i) {
      set_clock(kSomeTimeNs - kHourNs);
      const Value after = make(kind);
      EXPECT_EQ(time_ns_of(after), kSomeTimeNs - kHourNs);
      EXPECT_EQ(clock_sequence_of(after), (clock_sequence_of(before) + unsigned(i)) & 0x3fff);
      EXPECT_NE(node_of(after), node_of(values.back()));
      values.push_back(after);
      set_clock(kSomeTimeNs);
      for (int k = 0; k < 50; ++k) values.push_back(make(kind));
    }
    EXPECT_EQ(count_repeated(values), 0u);
  }
}

TEST_F(ClockTest, ThousandsInOneTickAreAllDifferent) {
  std::vector<Value> values;
  // More than fit between this tick and the bound by which a thread may run ahead.
  for (int i = 0; i < 25'000; ++i) values.push_back(make(i % 2 == 0 ? Kind::kUuid1 : Kind::kUuid6));
  for (const Value& value : values) {
    const std::int64_t ahead = time_ns_of(value) - kSomeTimeNs;
    ASSERT_GE(ahead, 0);
    ASSERT_LE(ahead, 1'000'000);
  }
  EXPECT_EQ(count_repeated(values), 0u);
}

TEST_F(ClockTest, TailThatOverflowsBeginsTheNextMillisecond) {
  ids::Monotonic state = {};
  const core::Stamp stamp = {};
  const auto ones = [](std::uint8_t* bytes, std::size_t length) {
    std::memset(bytes, 0xff, length);
    return 0;
  };
  ASSERT_EQ(ids::step(state, stamp, 77, ids::kUuid7TailBits, ones), 0);
  EXPECT_EQ(state.milliseconds, 77u);
  EXPECT_TRUE(state.tail == (ids::Bits128{1} << 74) - 1);
  ASSERT_EQ(ids::step(state, stamp, 77, ids::kUuid7TailBits, ones), 0);
  EXPECT_EQ(state.milliseconds, 78u);
  // At the last millisecond there is no next one.
  state.milliseconds = (std::uint64_t{1} << 48) - 1;
  EXPECT_EQ(ids::step(state, stamp, 77, ids::kUuid7TailBits, ones), CS_E_CLOCK);
}

TEST_F(ClockTest, FailedDrawForgetsTheTailAndNotTheTime) {
  ids::Monotonic state = {};
  const auto good = [](std::uint8_t* bytes, std::size_t length) {
    std::memset(bytes, 1, length);
    return 0;
  };
  const auto bad = [](std::uint8_t*, std::size_t) { return CS_E_ENTROPY; };
  ASSERT_EQ(ids::step(state, {}, 100, ids::kUlidTailBits, good), 0);
  EXPECT_EQ(ids::step(state, {.control = 9}, 100, ids::kUlidTailBits, bad), CS_E_ENTROPY);
  EXPECT_FALSE(state.drawn);
  ASSERT_EQ(ids::step(state, {.control = 9}, 50, ids::kUlidTailBits, good), 0);
  EXPECT_EQ(state.milliseconds, 101u);
}

TEST_F(ClockTest, ChangesDontBreakTheOrderOfAThread) {
  for (const Kind kind : {Kind::kUuid7, Kind::kUlid}) {
    Value last = make(kind);
    for (std::uint64_t i = 2; i < 30; ++i) {
      publish({.generation = i, .reseed_epoch = i, .diversifier = static_cast<std::uint8_t>(i)});
      const Value value = make(kind);
      EXPECT_LT(last, value);
      last = value;
    }
  }
}

// The time of versions 1 and 6 ends in 5236, that of the others in 10889, which the system's clock
// in nanoseconds can't reach; so the end is tested for `step` above.
TEST_F(ClockTest, ClockBeforeItsBeginningIsNoHarm) {
  set_clock(-5);
  restart();
  for (const Kind kind : kKinds) make(kind);
}

TEST_F(ClockTest, FailureLeavesZerosAndErrno) {
  core::seams_for_testing.kernel_random = [](void*, std::size_t) { return -EPERM; };
  restart();
  errno = 4711;
  for (const Kind kind : kKinds) {
    Value value;
    value.fill(0xee);
    EXPECT_EQ(make_code(kind, value), CS_E_ENTROPY);
    EXPECT_EQ(value, Value{});
  }
  EXPECT_EQ(cs_uuid1(nullptr), CS_E_INVALID);
  EXPECT_EQ(cs_uuid6(nullptr), CS_E_INVALID);
  EXPECT_EQ(cs_uuid7(nullptr), CS_E_INVALID);
  EXPECT_EQ(cs_ulid(nullptr), CS_E_INVALID);
  EXPECT_EQ(errno, 4711);
  EXPECT_STRNE(cs_strerror(CS_E_CLOCK), "unknown error");
  EXPECT_STRNE(cs_strerror(CS_E_NO_LEASE), "unknown error");
}

// As a signal handler would: it would be given what the interrupted call takes.
TEST_F(ClockTest, IdentifierInsideAnIdentifierIsRefused) {
  static int inner;
  static Kind inner_kind;
  static Value inner_value;
  for (const Kind kind : {Kind::kUuid1, Kind::kUuid6, Kind::kUuid7, Kind::kUlid}) {
    inner_kind = kind;
    inner = 0;
    core::seams_for_testing.stop = [](core::StopPoint point) {
      if (point != core::StopPoint::kAfterIdentifier) return;
      inner_value.fill(0xee);
      inner = make_code(inner_kind, inner_value);
    };
    make(kind);
    core::seams_for_testing.stop = nullptr;
    EXPECT_EQ(inner, CS_E_BUSY);
    EXPECT_EQ(inner_value, Value{});
  }
}

}  // namespace
}  // namespace clonesafe::laboratory
