// What threads would draw next is wiped before a snapshot, whichever thread prepares it.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "clonesafe/hooks.h"
#include "libclonesafe/core/thread_state.h"
#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {
namespace {

using core::Secrets;
using core::StopPoint;
using core::ThreadState;

bool is_wiped(const Secrets& secrets) {
  return !secrets.seeded &&
         std::ranges::all_of(secrets.block, [](std::uint8_t byte) { return byte == 0; });
}
bool is_wiped(const ThreadState& state) {
  return is_wiped(state.secrets_for_testing()) && is_wiped(state.private_secrets_for_testing());
}

// A thread that has drawn from both streams, and then does what it is told.
class Drawer {
 public:
  explicit Drawer(std::function<void(std::atomic<int>&)> then = {}) : then_(std::move(then)) {
    thread_ = std::thread([this] {
      draw();
      std::uint8_t byte = 0;
      EXPECT_EQ(cs_random_private(&byte, 1), 0);
      state_ = ThreadState::existing();
      step_ = 1;
      step_.notify_all();
      if (then_) then_(step_);
      for (int step = step_; step < 100; step = step_) step_.wait(step);
      draw();
    });
    step_.wait(0);
  }
  ~Drawer() { end(); }
  void end() {
    if (!thread_.joinable()) return;
    step_ = 100;
    step_.notify_all();
    thread_.join();
  }
  const ThreadState& state() const { return *state_; }

 private:
  std::function<void(std::atomic<int>&)> then_;
  std::atomic<int> step_ = 0;
  ThreadState* state_ = nullptr;
  std::thread thread_;
};

class ThreadWipeTest : public Laboratory {
 protected:
  ThreadWipeTest() {
    publish({.diversifier = 1});
    restart();
    draw();
  }
};

TEST_F(ThreadWipeTest, SnapshotThatIsPreparedHoldsNothingThatThreadsWouldDraw) {
  Drawer one, two;
  EXPECT_FALSE(is_wiped(one.state()));
  EXPECT_FALSE(is_wiped(two.state().private_secrets_for_testing()));
  EXPECT_EQ(cs_before_snapshot(), CS_HOOK_OK);
  EXPECT_TRUE(is_wiped(one.state()));
  EXPECT_TRUE(is_wiped(two.state()));
  EXPECT_TRUE(is_wiped(*ThreadState::existing()));
  // They go on, seeded anew.
  one.end();
  two.end();
  draw();
  EXPECT_FALSE(is_wiped(ThreadState::existing()->secrets_for_testing()));
}

TEST_F(ThreadWipeTest, HooksMayDrawAndAreWipedAfter) {
  cs_hook_options options = {};
  options.function = [](const cs_event*, void*) {
    draw();
    return 0;
  };
  cs_hook* hook = nullptr;
  ASSERT_EQ(cs_before_snapshot_hook(&options, &hook), 0);
  EXPECT_EQ(cs_before_snapshot(), CS_HOOK_OK);
  EXPECT_TRUE(is_wiped(*ThreadState::existing()));
  cs_hook_remove(hook);
}

TEST_F(ThreadWipeTest, ValuesAfterwardsAreNewOnes) {
  // As many as a block holds, and as many after it was thrown away.
  std::vector<Value> values = draw_many(100);
  EXPECT_EQ(ThreadState::wipe_all(), 0u);
  const std::vector<Value> after = draw_many(100);
  values.insert(values.end(), after.begin(), after.end());
  EXPECT_EQ(count_repeated(values), 0u);
}

// Stopped in the middle of a draw by the test, for longer than the wiper waits.
std::atomic<int> gate = 0;
void stop_in_draw(StopPoint point) {
  if (point != StopPoint::kAfterGenerate) return;
  int expected = 1;
  if (!gate.compare_exchange_strong(expected, 2)) return;
  gate.notify_all();
  gate.wait(2);
}

TEST_F(ThreadWipeTest, ThreadInADrawIsLeftAloneAndCounted) {
  core::seams_for_testing.stop = stop_in_draw;
  Drawer stuck([](std::atomic<int>&) {
    gate = 1;
    draw();
  });
  gate.wait(0);
  gate.wait(1);
  ASSERT_EQ(gate, 2);
  EXPECT_EQ(ThreadState::wipe_all(), 1u);
  EXPECT_FALSE(is_wiped(stuck.state()));
  gate = 3;
  gate.notify_all();
  stuck.end();
  core::seams_for_testing.stop = nullptr;
  EXPECT_EQ(ThreadState::wipe_all(), 0u);
}

TEST_F(ThreadWipeTest, ChildOfAForkInTheMiddleOfAWipeDraws) {
  core::seams_for_testing.detect_forks = true;
  restart();
  draw();
  core::seams_for_testing.stop = stop_in_draw;
  gate = 0;
  Drawer stuck([](std::atomic<int>&) {
    gate = 1;
    draw();
  });
  gate.wait(0);
  gate.wait(1);
  core::seams_for_testing.stop = nullptr;
  // Waits for the one that is stuck, and keeps this thread from drawing meanwhile.
  std::thread wiper([] { EXPECT_EQ(ThreadState::wipe_all(), 1u); });
  while (!ThreadState::existing()->is_being_wiped_for_testing()) std::this_thread::yield();
  const auto all = run_clones(1, [](int) { return draw_many(1); });
  EXPECT_EQ(all.at(0).size(), 1u);
  wiper.join();
  gate = 3;
  gate.notify_all();
}

TEST_F(ThreadWipeTest, ThreadsThatDrawAllTheTimeNeverFailOrRepeat) {
  constexpr int kThreads = 4;
  std::atomic<bool> stop = false;
  std::vector<std::vector<Value>> drawn(kThreads);
  std::vector<std::thread> threads;
  for (auto& own : drawn) {
    threads.emplace_back([&stop, &own] {
      while (!stop && own.size() < 20'000) own.push_back(draw());
    });
  }
  std::size_t wiped = 0;
  for (int i = 0; i < 200; ++i) wiped += ThreadState::wipe_all() == 0;
  EXPECT_GT(wiped, 0u);
  stop = true;
  for (auto& thread : threads) thread.join();
  std::vector<Value> values;
  for (const auto& own : drawn) values.insert(values.end(), own.begin(), own.end());
  EXPECT_EQ(count_repeated(values), 0u);
}

TEST_F(ThreadWipeTest, CtrDrbgsStateGoesToo) {
  core::seams_for_testing.detect_forks = true;
  restart();
  ASSERT_EQ(cs_use_core(CS_CORE_CTR_DRBG), 0);
  std::vector<Value> values = draw_many(10);
  EXPECT_EQ(ThreadState::wipe_all(), 0u);
  EXPECT_TRUE(is_wiped(*ThreadState::existing()));
  const std::vector<Value> after = draw_many(10);
  values.insert(values.end(), after.begin(), after.end());
  EXPECT_EQ(count_repeated(values), 0u);
}

}  // namespace
}  // namespace clonesafe::laboratory
