#include "vmm_device/block/commit.h"

#include "tests/unit/block/fixture.h"

namespace clonesafe::block {
namespace {

using testing::HasSubstr;

class CommitTest : public BlockTest {
 protected:
  CommitTest() {
    make_file("image", pattern(83));
    Disk disk = layered(path("image"), path("layer"));
    EXPECT_TRUE(put(disk, 1024, pattern(30, 'X')));
    EXPECT_TRUE(disk.write_zeroes(50 * 512, 20 * 512, true));
    EXPECT_TRUE(put(disk, 82 * 512, pattern(1, 'E')));
    EXPECT_TRUE(disk.flush());
    merged_ = all(disk);
  }
  CommitRequest request() const { return {.layer = path("layer"), .image = path("image")}; }
  std::string merged_;
};

TEST_F(CommitTest, WritesTheLayerIntoItsImage) {
  const auto done = commit(request());
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_TRUE(contents(path("image")) == merged_);
}

TEST_F(CommitTest, WritesANewImageAndLeavesBoth) {
  auto to_new = request();
  to_new.out = path("new");
  const auto done = commit(to_new);
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_TRUE(contents(path("new")) == merged_);
  EXPECT_TRUE(contents(path("image")) == pattern(83));
  EXPECT_TRUE(all(layered(path("image"), path("layer"))) == merged_);
  const auto again = commit(to_new);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().message(), path("new") + ": exists already");
}

// Stopped at each step, then done again.
TEST_F(CommitTest, IsFinishedByTheNextOneWhereverItWasInterrupted) {
  const std::string image = contents(path("image"));
  const std::string layer = contents(path("layer"));
  int steps = 0;
  for (int stop_at = 1;; ++stop_at) {
    make_file("image", image);
    make_file("layer", layer);
    // The image has the time that its layer knows.
    const auto base = Layer::open(path("layer"), Lock::kShared)->base();
    const timespec times[2] = {
        {0, UTIME_OMIT}, {base.modified_ns / 1'000'000'000, base.modified_ns % 1'000'000'000}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path("image").c_str(), times, 0), 0);
    auto interrupted = request();
    steps = 0;
    interrupted.stop_for_testing = [&](const char*) -> Status {
      return ++steps == stop_at ? fail("stopped") : Status();
    };
    const auto first = commit(interrupted);
    if (steps < stop_at) break;  // it has no more steps
    ASSERT_FALSE(first);
    // Nobody uses what is half done.
    {
      Disk disk(DiskImage::open(path("image"), Lock::kShared).value(), false);
      const auto added = disk.add(Layer::open(path("layer"), Lock::kShared).value());
      ASSERT_FALSE(added);
      EXPECT_THAT(added.error().message(), HasSubstr("finish that with clonevm commit"));
    }
    const auto second = commit(request());
    ASSERT_TRUE(second.has_value()) << second.error().message();
    EXPECT_TRUE(contents(path("image")) == merged_) << "stopped at step " << stop_at;
  }
  EXPECT_GT(steps, 5);
}

TEST_F(CommitTest, RefusesAnotherImageAndOneInUse) {
  make_file("other", pattern(83, 'q'));
  auto wrong = request();
  wrong.image = path("other");
  const auto refused = commit(wrong);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("a layer over another image than"));
  const auto reader = DiskImage::open(path("image"), Lock::kShared);
  const auto busy = commit(request());
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().message(), path("image") + ": in use by another process");
  EXPECT_TRUE(contents(path("image")) == pattern(83));
}

}  // namespace
}  // namespace clonesafe::block
