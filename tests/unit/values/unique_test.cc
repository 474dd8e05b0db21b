// Values that must not be used in a clone, and steps that belong together.
#include <gmock/gmock.h>

#include <memory>

#include "clonesafe/values.hpp"
#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {
namespace {

class UniqueTest : public Laboratory {
 protected:
  UniqueTest() {
    publish({});
    restart();
  }
  void change() {
    ++generation_;
    publish({.generation = generation_, .reseed_epoch = generation_});
  }
  std::uint64_t generation_ = 1;
};

TEST_F(UniqueTest, UseOfAStaleOneIsAnError) {
  const auto token = Unique<Uuid>::make([] { return Uuid::random(); });
  const Uuid before = token.use();
  EXPECT_EQ(token.use([](const Uuid& value) { return value; }), before);
  EXPECT_FALSE(token.stale());
  change();
  EXPECT_TRUE(token.stale());
  EXPECT_THROW(token.use(), StaleValue);
  bool used = false;
  EXPECT_THROW(token.use([&](const Uuid&) { used = true; }), StaleValue);
  EXPECT_FALSE(used);
}

TEST_F(UniqueTest, TheMachineThatWasSnapshottedGoesOnWithIt) {
  const auto token = Unique<int>::make([] { return 1; });
  publish({.reseed_epoch = 2});
  EXPECT_EQ(token.use(), 1);
}

TEST_F(UniqueTest, AChangeDuringTheUseIsTold) {
  const auto token = Unique<int>::make([] { return 1; });
  bool used = false;
  EXPECT_THROW(token.use([&](int) {
    used = true;
    change();
  }),
               StaleValue);
  EXPECT_TRUE(used);
}

TEST_F(UniqueTest, AChangeDuringItsMakingMakesAnother) {
  int made = 0;
  const auto token = Unique<std::unique_ptr<int>>::make([&] {
    if (++made == 1) change();
    return std::make_unique<int>(made);
  });
  EXPECT_EQ(*token.use(), 2);
}

TEST_F(UniqueTest, IsStaleInAChild) {
  core::seams_for_testing.detect_forks = true;
  restart();
  const auto token = Unique<int>::make([] { return 1; });
  run_clones(1, [&](int) {
    EXPECT_THROW(token.use(), StaleValue);
    return std::vector<Value>{};
  });
  EXPECT_EQ(token.use(), 1);
}

TEST_F(UniqueTest, TaggedBytesComeOutOnceTheyAreCurrentAndZerosOtherwise) {
  cs_tagged tagged;
  Value value = {};
  ASSERT_EQ(cs_tagged_random(&tagged, value.size()), 0);
  ASSERT_EQ(cs_tagged_use(&tagged, value.data(), value.size()), 0);
  EXPECT_NE(value, Value{});
  EXPECT_EQ(cs_tagged_use(&tagged, value.data(), 15), CS_E_INVALID);
  EXPECT_EQ(cs_tagged_use(nullptr, value.data(), 15), CS_E_INVALID);
  EXPECT_EQ(cs_tagged_use(&tagged, nullptr, 16), CS_E_INVALID);
  change();
  value.fill(0xee);
  EXPECT_EQ(cs_tagged_use(&tagged, value.data(), value.size()), CS_E_STALE);
  EXPECT_EQ(value, Value{});
}

TEST_F(UniqueTest, TaggedBytesOfTheCallers) {
  cs_stamp stamp = {};
  cs_tagged tagged;
  std::uint64_t number = 77;
  ASSERT_EQ(cs_begin(&stamp), 0);
  ASSERT_EQ(cs_tagged_set(&tagged, &stamp, &number, sizeof(number)), 0);
  number = 0;
  ASSERT_EQ(cs_tagged_use(&tagged, &number, sizeof(number)), 0);
  EXPECT_EQ(number, 77u);
  change();
  EXPECT_EQ(cs_tagged_set(&tagged, &stamp, &number, sizeof(number)), CS_E_STALE);
  EXPECT_EQ(cs_tagged_use(&tagged, &number, sizeof(number)), CS_E_INVALID);
  EXPECT_EQ(cs_tagged_set(&tagged, nullptr, &number, sizeof(number)), CS_E_INVALID);
  EXPECT_EQ(cs_tagged_random(&tagged, 0), CS_E_INVALID);
  EXPECT_EQ(cs_tagged_random(&tagged, CS_TAGGED_MAX + 1), CS_E_INVALID);
  EXPECT_EQ(cs_tagged_random(nullptr, 16), CS_E_INVALID);
}

// What cs_random alone can't tell: the snapshot falls when the value is finished. The tagged form
// draws again while it is made, and refuses when it is used.
TEST_F(UniqueTest, SnapshotInTheMakingAndInTheUseOfATaggedValue) {
  static Clones* clones;
  static core::StopPoint at;
  const auto stop = [](core::StopPoint point) {
    if (point != at || clones == nullptr) return;
    if (const int number = std::exchange(clones, nullptr)->spawn(3); number > 0)
      write_page_as_vmm({.generation = 100u + static_cast<unsigned>(number),
                         .reseed_epoch = 100,
                         .diversifier = static_cast<std::uint8_t>(number)});
  };
  for (const auto point : {core::StopPoint::kAfterPostCheck, core::StopPoint::kAfterBuild}) {
    Clones made;
    clones = &made;
    at = point;
    cs_tagged tagged;
    core::seams_for_testing.stop = stop;
    EXPECT_EQ(cs_tagged_random(&tagged, 16), 0);
    core::seams_for_testing.stop = nullptr;
    Value value = {};
    EXPECT_EQ(cs_tagged_use(&tagged, value.data(), value.size()), 0);
    if (made.number() > 0) made.finish({value});
    std::vector<Value> values = {value};
    for (const auto& one : made.collect()) values.push_back(one.at(0));
    EXPECT_EQ(count_repeated(values), 0u);
  }
  cs_tagged tagged;
  ASSERT_EQ(cs_tagged_random(&tagged, 16), 0);
  Clones made;
  clones = &made;
  at = core::StopPoint::kAfterCopy;
  core::seams_for_testing.stop = stop;
  Value value = {};
  const int result = cs_tagged_use(&tagged, value.data(), value.size());
  core::seams_for_testing.stop = nullptr;
  if (made.number() > 0) {
    EXPECT_EQ(result, CS_E_STALE);
    EXPECT_EQ(value, Value{});
    made.finish({});
  }
  EXPECT_EQ(result, 0);
  made.collect();
}

TEST_F(UniqueTest, StepsRunAgainUntilTheyFallIntoOneGeneration) {
  int runs = 0;
  EXPECT_EQ(in_one_generation([&] {
              if (++runs < 3) change();
              return runs;
            }),
            3);
  EXPECT_THROW(in_one_generation([&] { change(); }), LibraryError);
  cs_stamp stamp = {};
  ASSERT_EQ(cs_begin(&stamp), 0);
  EXPECT_EQ(cs_commit(&stamp), 0);
  change();
  EXPECT_EQ(cs_commit(&stamp), CS_E_STALE);
  EXPECT_EQ(cs_commit(nullptr), CS_E_INVALID);
  EXPECT_STREQ(cs_strerror(CS_E_STALE), "made in another generation or process");
}

}  // namespace
}  // namespace clonesafe::laboratory
