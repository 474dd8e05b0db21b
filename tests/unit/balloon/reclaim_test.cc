#include "vmm_device/machine/reclaim.h"

#include <optional>

#include "tests/unit/balloon/balloon_fixture.h"

namespace clonesafe {
namespace {

using namespace virtio;  // NOLINT(google-build-using-namespace)
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kMiB = 1u << 20;
// None of these tests waits for so long.
constexpr std::chrono::milliseconds kLong{600'000};
// All of these are over before anything else happens.
constexpr std::chrono::milliseconds kShort{16};

// A guest whose driver does what Linux's does, as far as it has pages.
class ReclaimTest : public testing::Test {
 protected:
  void start(std::uint64_t features = kAllFeatures) {
    machine_.use(kFirst, BalloonMachine::kPages);
    machine_.start(features);
    machine_.put_statistics({});
    machine_.poll();
  }
  void reclaim(std::chrono::milliseconds time = kLong) {
    reclaim_.start(time, [this](const Reclaimed& result) { result_ = result; });
  }
  void tell(std::uint64_t free, std::uint64_t available) {
    ASSERT_TRUE(machine_.answered(balloon::kStatisticsQueue)) << "nobody asked";
    machine_.put_statistics({{.tag = balloon::kStatisticFree, .value = free},
                             {.tag = balloon::kStatisticAvailable, .value = available}});
    machine_.poll();
  }
  // One request of at most 256 pages towards the target; false: there is nothing to do.
  bool work() {
    const std::uint32_t target = std::min(machine_.target(), gives_);
    std::vector<std::uint32_t> numbers;
    while (pages_ < target && numbers.size() < 256) numbers.push_back(kFirst + pages_++);
    const std::size_t queue = numbers.empty() ? balloon::kDeflateQueue : balloon::kInflateQueue;
    while (queue == balloon::kDeflateQueue && pages_ > target && pages_ > keeps_ &&
           numbers.size() < 256)
      numbers.push_back(kFirst + --pages_);
    if (numbers.empty()) return false;
    most_ = std::max(most_, pages_);
    machine_.request(queue, numbers);
    machine_.poll();
    EXPECT_TRUE(machine_.answered(queue));
    machine_.set_actual(pages_);
    machine_.poll();
    return true;
  }
  void work_to_the_end() {
    while (!result_) {
      if (work()) continue;
      machine_.io.restart();
      ASSERT_NE(machine_.io.run_one(), 0u) << "nothing happens any more";
    }
  }

  BalloonMachine machine_;
  Reclaim reclaim_{machine_.io, machine_.device};
  std::optional<Reclaimed> result_;
  std::uint32_t gives_ = BalloonMachine::kPages;
  std::uint32_t keeps_ = 0;  // it never takes these back
  std::uint32_t pages_ = 0;
  std::uint32_t most_ = 0;
};

TEST_F(ReclaimTest, FreePagesBecomeZerosAndAreTheGuestsAgain) {
  start();
  reclaim();
  EXPECT_EQ(machine_.target(), 0u) << "before the guest said what it has";
  tell(4 * kMiB, 8 * kMiB);
  work_to_the_end();
  EXPECT_EQ(result_->pages, 1024u);
  EXPECT_THAT(result_->lacks, IsEmpty());
  EXPECT_TRUE(result_->deflated);
  EXPECT_EQ(machine_.target(), 0u);
  EXPECT_EQ(machine_.device.pages(), 0u);
  EXPECT_EQ(machine_.device.counts().deflated, 1024u);
  EXPECT_TRUE(machine_.is(kFirst, std::byte{0}));
  EXPECT_TRUE(machine_.is(kFirst + 1023, std::byte{0}));
  EXPECT_TRUE(machine_.is(kFirst + 1024, kUsed));
}

TEST_F(ReclaimTest, TakesFourFifthsOfWhatIsAvailable) {
  start();
  reclaim();
  tell(14 * kMiB, 10 * kMiB);
  work_to_the_end();
  EXPECT_LE(most_, 10 * kMiB / 4096 * 80 / 100);
  EXPECT_GT(most_, 10 * kMiB / 4096 * 79 / 100);
}

TEST_F(ReclaimTest, LeavesWhatIsCached) {
  start();
  reclaim();
  tell(1 * kMiB, 14 * kMiB);
  work_to_the_end();
  EXPECT_EQ(most_, 256u);
}

TEST_F(ReclaimTest, AGuestThatSaysAnythingIsAskedForNoMoreThanItHas) {
  start();
  reclaim();
  tell(~std::uint64_t{0}, ~std::uint64_t{0});
  EXPECT_LE(machine_.target(), (BalloonMachine::kSize >> 12) * 80 / 100);
  work_to_the_end();
  EXPECT_TRUE(result_->deflated);
}

TEST_F(ReclaimTest, NothingIsAskedOfAGuestWithoutFreeMemory) {
  start();
  reclaim();
  tell(4095, kMiB);
  ASSERT_TRUE(result_);
  EXPECT_EQ(result_->pages, 0u);
  EXPECT_THAT(result_->lacks, IsEmpty());
}

TEST_F(ReclaimTest, SaysWhyItCanNot) {
  reclaim();
  ASSERT_TRUE(result_);
  EXPECT_EQ(result_->lacks, "the guest has no driver for the balloon");
  EXPECT_TRUE(result_->deflated);

  start(kFeatureIndirectDescriptors);
  reclaim();
  EXPECT_EQ(result_->lacks, "the guest's driver tells no statistics");

  machine_.guest = {};
  start(kAllFeatures | balloon::kFeaturePagePoison);
  machine_.write_config(offsetof(balloon::Config, poison_val), 0xaaaaaaaa);
  reclaim();
  EXPECT_EQ(result_->lacks, "the guest fills free pages with a pattern");
}

TEST_F(ReclaimTest, SaysWhichFiguresLack) {
  start();
  reclaim();
  ASSERT_TRUE(machine_.answered(balloon::kStatisticsQueue));
  machine_.put_statistics({{.tag = balloon::kStatisticFree, .value = kMiB}});
  machine_.poll();
  ASSERT_TRUE(result_);
  EXPECT_EQ(result_->lacks, "the guest's driver doesn't tell how much memory is available");
}

TEST_F(ReclaimTest, AGuestThatDoesNotAnswerIsNotWaitedFor) {
  start();
  reclaim(kShort);
  work_to_the_end();
  EXPECT_EQ(result_->lacks, "the guest told no statistics within 2 ms");
  EXPECT_EQ(machine_.target(), 0u);
  EXPECT_TRUE(result_->deflated);
}

TEST_F(ReclaimTest, AGuestThatGivesLessHasThatBack) {
  start();
  gives_ = 300;
  reclaim(std::chrono::seconds(4));
  tell(4 * kMiB, 8 * kMiB);
  work_to_the_end();
  EXPECT_EQ(result_->pages, 300u);
  EXPECT_EQ(result_->lacks, "the guest gave 300 pages of the 1024 that were asked for");
  EXPECT_TRUE(result_->deflated);
  EXPECT_EQ(pages_, 0u);
}

TEST_F(ReclaimTest, SaysThatPagesAreStillInTheBalloon) {
  start();
  keeps_ = 100;
  reclaim(std::chrono::seconds(2));
  tell(4 * kMiB, 8 * kMiB);
  work_to_the_end();
  EXPECT_FALSE(result_->deflated);
  EXPECT_EQ(result_->lacks, "the guest has not taken back 100 pages of the balloon");
  // What it lacks is asked back for as long as the machine runs.
  EXPECT_EQ(machine_.target(), 0u);
}

TEST_F(ReclaimTest, ADriverThatGoesAwayEndsIt) {
  start();
  reclaim();
  tell(4 * kMiB, 8 * kMiB);
  ASSERT_TRUE(work());
  machine_.registers.write(kRegisterStatus, 0);
  machine_.poll();
  ASSERT_TRUE(result_);
  EXPECT_EQ(result_->lacks, "the guest's driver of the balloon went away");
  EXPECT_TRUE(result_->deflated);
  EXPECT_EQ(machine_.target(), 0u) << "asked of the next driver";
}

TEST_F(ReclaimTest, CanBeDoneAgain) {
  start();
  for (int round = 0; round < 2; ++round) {
    result_.reset();
    reclaim();
    tell(4 * kMiB, 8 * kMiB);
    work_to_the_end();
    EXPECT_EQ(result_->pages, 1024u);
  }
}

}  // namespace
}  // namespace clonesafe
