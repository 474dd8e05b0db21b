// A snapshot at each place of a draw where one can fall.
#include <gmock/gmock.h>

#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {
namespace {

using core::StopPoint;

constexpr int kClones = 4;

struct Armed {
  StopPoint point = StopPoint::kBeforeStamp;
  bool tell = true;  // the clones of their restore
  Clones* clones = nullptr;
};
Armed armed;

void tell_of_restore(int clone) {
  write_page_as_vmm({.generation = static_cast<std::uint64_t>(100 + clone),
                     .reseed_epoch = static_cast<std::uint64_t>(100 + clone),
                     .diversifier = static_cast<std::uint8_t>(clone),
                     .state = CLONESAFE_STATE_REPAIRING});
}

// The snapshot: the clones go on from here, and so does the source.
void snapshot_at(StopPoint point) {
  if (armed.clones == nullptr || point != armed.point) return;
  Clones* clones = std::exchange(armed.clones, nullptr);
  if (const int number = clones->spawn(kClones); number > 0 && armed.tell) tell_of_restore(number);
}

enum class Path { kFirstDraw, kReseed, kBlock, kRefill, kLong };

class StopPointTest : public Laboratory {
 protected:
  // The first and second value that source and clones draw if the snapshot falls on `point` of the
  // first.
  struct Drawn {
    std::vector<Value> first;
    std::vector<Value> second;
  };
  Drawn draw_over_snapshot(Path path, StopPoint point, bool tell = true) {
    remove_page();
    publish({});
    restart();
    if (path != Path::kFirstDraw) draw();
    if (path == Path::kRefill) draw_many(core::Secrets::kFirstBlockSize / sizeof(Value) - 1);
    if (path == Path::kReseed) publish({.reseed_epoch = 50});
    const std::size_t length = path == Path::kLong ? 5000 : sizeof(Value);
    Clones clones;
    armed = {.point = point, .tell = tell, .clones = &clones};
    core::seams_for_testing.stop = snapshot_at;
    std::vector<std::uint8_t> bytes(length);
    const int result = cs_random(bytes.data(), bytes.size());
    EXPECT_EQ(result, 0) << cs_strerror(result);
    EXPECT_EQ(armed.clones, nullptr) << "the stop-point was not reached";
    core::seams_for_testing.stop = nullptr;
    Value first = {};
    std::memcpy(first.data(), bytes.data() + length - first.size(), first.size());
    const std::vector<Value> values = {first, draw()};
    if (clones.number() > 0) clones.finish(values);
    auto all = clones.collect();
    all.push_back(values);
    Drawn drawn;
    for (const auto& one : all) {
      EXPECT_EQ(one.size(), 2u);
      if (one.size() != 2) continue;
      drawn.first.push_back(one[0]);
      drawn.second.push_back(one[1]);
    }
    EXPECT_EQ(drawn.first.size(), std::size_t{kClones + 1});
    return drawn;
  }
};

struct Case {
  Path path;
  StopPoint point;
};
// The block's path has only the last two points: it doesn't read the seed.
constexpr Case kBeforeTheEnd[] = {
    {Path::kFirstDraw, StopPoint::kBeforeStamp},   {Path::kFirstDraw, StopPoint::kAfterStamp},
    {Path::kFirstDraw, StopPoint::kAfterGather},   {Path::kFirstDraw, StopPoint::kAfterSeed},
    {Path::kFirstDraw, StopPoint::kAfterGenerate}, {Path::kReseed, StopPoint::kBeforeStamp},
    {Path::kReseed, StopPoint::kAfterStamp},       {Path::kReseed, StopPoint::kAfterGather},
    {Path::kReseed, StopPoint::kAfterSeed},        {Path::kReseed, StopPoint::kAfterGenerate},
    {Path::kBlock, StopPoint::kAfterGenerate},     {Path::kRefill, StopPoint::kBeforeStamp},
    {Path::kRefill, StopPoint::kAfterGenerate},    {Path::kLong, StopPoint::kBeforeStamp},
    {Path::kLong, StopPoint::kAfterGenerate},
};

TEST_F(StopPointTest, SnapshotAnywhereBeforeThePostCheckRepeatsNothing) {
  for (const Case& one : kBeforeTheEnd) {
    SCOPED_TRACE(::testing::Message() << "path " << static_cast<int>(one.path) << " point "
                                      << static_cast<int>(one.point));
    Drawn drawn = draw_over_snapshot(one.path, one.point);
    std::vector<Value> values = drawn.first;
    values.insert(values.end(), drawn.second.begin(), drawn.second.end());
    EXPECT_EQ(count_repeated(values), 0u);
  }
}

// The twin: without the restore's word each of these snapshots repeats both values in all clones.
TEST_F(StopPointTest, TheSameSnapshotsRepeatEverythingWhenNobodyIsTold) {
  for (const Case& one : kBeforeTheEnd) {
    SCOPED_TRACE(::testing::Message() << "path " << static_cast<int>(one.path) << " point "
                                      << static_cast<int>(one.point));
    const Drawn drawn = draw_over_snapshot(one.path, one.point, false);
    EXPECT_THAT(drawn.first, ::testing::Each(drawn.first[0]));
    EXPECT_THAT(drawn.second, ::testing::Each(drawn.second[0]));
  }
}

// What is left to the caller: the value was finished when the snapshot fell. A stamp taken before
// the draw tells.
TEST_F(StopPointTest, SnapshotAfterThePostCheckRepeatsThatValueAndTheStampTells) {
  for (const Path path : {Path::kFirstDraw, Path::kBlock, Path::kLong}) {
    SCOPED_TRACE(static_cast<int>(path));
    const Drawn drawn = draw_over_snapshot(path, StopPoint::kAfterPostCheck);
    EXPECT_THAT(drawn.first, ::testing::Each(drawn.first[0]));
    EXPECT_EQ(count_repeated(drawn.second), 0u);
  }
  restart();
  cs_stamp stamp = {};
  ASSERT_EQ(cs_generation(&stamp), 0);
  Clones clones;
  armed = {.point = StopPoint::kAfterPostCheck, .tell = true, .clones = &clones};
  core::seams_for_testing.stop = snapshot_at;
  draw();
  const int changes = cs_changed(&stamp);
  if (clones.number() > 0) {
    EXPECT_EQ(changes, CS_CHANGED_GENERATION | CS_CHANGED_RESEED);
    clones.finish({});
  }
  EXPECT_EQ(changes, 0);
  clones.collect();
}

TEST_F(StopPointTest, DrawInsideADrawIsRefused) {
  publish({});
  restart();
  static int inner;
  static Value inner_value;
  core::seams_for_testing.stop = [](StopPoint point) {
    if (point != StopPoint::kAfterGenerate) return;
    inner_value.fill(0xee);
    inner = cs_random(inner_value.data(), inner_value.size());
  };
  inner = 0;
  draw();  // with the seeding
  EXPECT_EQ(inner, CS_E_BUSY);
  EXPECT_EQ(inner_value, Value{});
  inner = 0;
  draw();  // from the block
  EXPECT_EQ(inner, CS_E_BUSY);
  core::seams_for_testing.stop = nullptr;
  draw();
}

}  // namespace
}  // namespace clonesafe::laboratory
