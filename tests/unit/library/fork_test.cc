// A fork is the same event as a clone, noticed by the wiped page alone: here no generation moves.
#include <gmock/gmock.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/unit/library/laboratory.h"

#if defined(__SANITIZE_THREAD__)
#define CLONESAFE_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CLONESAFE_THREAD_SANITIZER
#endif
#endif

#ifdef CLONESAFE_THREAD_SANITIZER
// The library promises children that start threads, also of a process with threads. By default
// ThreadSanitizer ends such a child, whether or not it races; this has it look on.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() {
  return "die_after_fork=0";
}
#endif

namespace clonesafe::laboratory {
namespace {

class ForkTest : public Laboratory {
 protected:
  ForkTest() {
    core::seams_for_testing.detect_forks = true;
    publish({});
    restart();
  }
};

TEST_F(ForkTest, ChildAndGrandchildDrawOtherValues) {
  draw_many(3);
  auto all = run_clones(1, [](int) {
    std::vector<Value> values = draw_many(4);
    Clones grandchildren;
    if (grandchildren.spawn(1) > 0) grandchildren.finish(draw_many(4));
    const auto more = grandchildren.collect()[0];
    values.insert(values.end(), more.begin(), more.end());
    const auto rest = draw_many(4);
    values.insert(values.end(), rest.begin(), rest.end());
    return values;
  });
  std::vector<Value> values = all[0];
  const auto own = draw_many(4);
  values.insert(values.end(), own.begin(), own.end());
  EXPECT_EQ(values.size(), 16u);
  EXPECT_EQ(count_repeated(values), 0u);
}

// The twin.
TEST_F(ForkTest, WithoutDetectionTheChildRepeatsItsParent) {
  core::seams_for_testing.detect_forks = false;
  restart();
  draw_many(3);
  const auto child = run_clones(1, [](int) { return draw_many(4); })[0];
  EXPECT_EQ(child, draw_many(4));
}

// Two children of one process are equal to each other but for their ids and what the kernel gives.
TEST_F(ForkTest, SiblingsDrawOtherValues) {
  core::seams_for_testing.freeze_local_inputs = false;
  draw_many(3);
  std::vector<Value> values;
  for (const auto& one : run_clones(8, [](int) { return draw_many(4); })) {
    values.insert(values.end(), one.begin(), one.end());
  }
  EXPECT_EQ(values.size(), 32u);
  EXPECT_EQ(count_repeated(values), 0u);
}

TEST_F(ForkTest, SecretsAreNotInTheChild) {
  draw();
  run_clones(1, [](int) {
    EXPECT_EQ(core::ThreadState::existing()->seeded_from(), 0u);
    draw();
    EXPECT_NE(core::ThreadState::existing()->seeded_from(), 0u);
    return std::vector<Value>{};
  });
}

TEST_F(ForkTest, StampTellsOfTheFork) {
  cs_stamp stamp = {};
  ASSERT_EQ(cs_generation(&stamp), 0);
  run_clones(1, [&](int) {
    EXPECT_EQ(cs_changed(&stamp), CS_CHANGED_FORK | CS_CHANGED_RESEED);
    cs_stamp own = {};
    EXPECT_EQ(cs_generation(&own), 0);
    EXPECT_NE(own.forks, stamp.forks);
    EXPECT_EQ(cs_changed(&own), 0);
    return std::vector<Value>{};
  });
  EXPECT_EQ(cs_changed(&stamp), 0);
}

// By the word that the kernel wiped, before anybody gave this child one of its own; and by its own.
TEST_F(ForkTest, InlineCheckTellsOfTheFork) {
  cs_stamp stamp = {};
  ASSERT_EQ(cs_generation(&stamp), 0);
  EXPECT_EQ(cs_changed_inline(&stamp), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    EXPECT_EQ(*cs_live()->fork, 0u);
    EXPECT_EQ(cs_changed_inline(&stamp), CS_CHANGED_FORK | CS_CHANGED_RESEED);
    EXPECT_NE(*cs_live()->fork, 0u);
    EXPECT_EQ(cs_changed_inline(&stamp), CS_CHANGED_FORK | CS_CHANGED_RESEED);
    ::_exit(HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(ForkTest, ForksOfABusyMultiThreadedProcessNeitherHangNorRepeat) {
  core::seams_for_testing.freeze_local_inputs = false;
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      // Short lives, so that forks fall on thread starts, seedings and thread ends too.
      while (!stop) std::thread([] { draw_many(20); }).join();
    });
  }
  std::vector<Value> values;
  for (int i = 0; i < 50; ++i) {
    for (const auto& one : run_clones(1, [](int) {
           std::vector<Value> drawn = draw_many(2);
           std::thread([&] { drawn.push_back(draw()); }).join();
           return drawn;
         })) {
      values.insert(values.end(), one.begin(), one.end());
    }
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(values.size(), 150u);
  EXPECT_EQ(count_repeated(values), 0u);
}

}  // namespace
}  // namespace clonesafe::laboratory
