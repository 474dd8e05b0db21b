// Cells: built once in each generation, by one thread.
#include <gmock/gmock.h>

#include <atomic>
#include <latch>
#include <random>
#include <stdexcept>
#include <thread>

#include "clonesafe/values.hpp"
#include "tests/unit/library/laboratory.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
// As in fork_test.cc: children of a process with threads may start threads.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() {
  return "die_after_fork=0";
}
#endif
#endif

namespace clonesafe::laboratory {
namespace {

using ::testing::ElementsAre;

class CellTest : public Laboratory {
 protected:
  CellTest() {
    publish({});
    restart();
  }
  // As a restore of this very process.
  void change() {
    ++generation_;
    publish({.generation = generation_, .reseed_epoch = generation_});
  }
  void reseed_only() { publish({.generation = generation_, .reseed_epoch = 1000}); }

  std::uint64_t generation_ = 1;
};

TEST_F(CellTest, IsBuiltOnceByEightThreadsAndOnceMoreInEachGeneration) {
  std::atomic<int> built = 0;
  PerGeneration<int> cell([&] { return ++built; });
  for (int generation = 1; generation <= 3; ++generation) {
    std::latch together(8);
    std::vector<std::thread> threads;
    std::atomic<int> wrong = 0;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        together.arrive_and_wait();
        for (int n = 0; n < 100; ++n) wrong += *cell.get() != generation;
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(built, generation);
    change();
  }
}

TEST_F(CellTest, OthersWaitForTheOneThatBuilds) {
  std::latch building(1);
  std::latch go_on(1);
  std::atomic<int> built = 0;
  PerGeneration<int> cell([&] {
    building.count_down();
    go_on.wait();
    return ++built;
  });
  std::thread first([&] { EXPECT_EQ(*cell.get(), 1); });
  building.wait();
  std::vector<std::thread> others;
  for (int i = 0; i < 4; ++i) others.emplace_back([&] { EXPECT_EQ(*cell.get(), 1); });
  go_on.count_down();
  first.join();
  for (auto& thread : others) thread.join();
  EXPECT_EQ(built, 1);
}

TEST_F(CellTest, AnOldValueStaysUntilItsLastHandleIsGone) {
  std::vector<int> ended;
  std::vector<int> stale;
  int built = 0;
  PerGeneration<int> cell([&] { return ++built; },
                          [&](std::unique_ptr<int> value, int changes) {
                            ended.push_back(*value);
                            stale.push_back(changes);
                          });
  auto held = cell.get();
  const std::shared_ptr<int> shared = cell.get().share();
  change();
  EXPECT_TRUE(held.stale());
  EXPECT_EQ(*cell.get(), 2);
  EXPECT_THAT(ended, ElementsAre());
  EXPECT_EQ(*held, 1);
  EXPECT_EQ(*shared, 1);
  held = {};
  EXPECT_THAT(ended, ElementsAre());
  const_cast<std::shared_ptr<int>&>(shared).reset();
  EXPECT_THAT(ended, ElementsAre(1));
  cell.reset();
  EXPECT_THAT(ended, ElementsAre(1, 2));
  EXPECT_THAT(stale, ElementsAre(CS_CHANGED_GENERATION, 0));
}

TEST_F(CellTest, HandlesOutliveTheirCell) {
  std::vector<int> ended;
  PerGeneration<int>::Handle held;
  {
    PerGeneration<int> cell([] { return 7; },
                            [&](std::unique_ptr<int> value, int) { ended.push_back(*value); });
    held = cell.get();
  }
  EXPECT_EQ(*held, 7);
  EXPECT_THAT(ended, ElementsAre());
  held = {};
  EXPECT_THAT(ended, ElementsAre(7));
}

TEST_F(CellTest, TheFailureOfAFactoryIsItsCallersAndTheNextTriesAgain) {
  int tries = 0;
  PerGeneration<int> cell([&]() -> int {
    if (++tries < 3) throw std::runtime_error("no database");
    return tries;
  });
  EXPECT_THROW(cell.get(), std::runtime_error);
  EXPECT_THROW(cell.get(), std::runtime_error);
  EXPECT_EQ(*cell.get(), 3);
  EXPECT_EQ(*cell.get(), 3);
}

TEST_F(CellTest, AFailureLetsAWaitingThreadTry) {
  std::latch building(1);
  std::latch go_on(1);
  std::atomic<int> tries = 0;
  PerGeneration<int> cell([&]() -> int {
    if (++tries > 1) return tries;
    building.count_down();
    go_on.wait();
    throw std::runtime_error("no database");
  });
  std::thread first([&] { EXPECT_THROW(cell.get(), std::runtime_error); });
  building.wait();
  std::thread second([&] { EXPECT_EQ(*cell.get(), 2); });
  go_on.count_down();
  first.join();
  second.join();
}

TEST_F(CellTest, ItsOwnFactoryMayNotUseItAndOthersMay) {
  PerGeneration<int> inner([] { return 1; });
  PerGeneration<int>* itself = nullptr;
  int code = 0;
  PerGeneration<int> outer([&] {
    try {
      itself->get();
    } catch (const LibraryError& error) {
      code = error.code();
    }
    return *inner.get() + 1;
  });
  itself = &outer;
  EXPECT_EQ(*outer.get(), 2);
  EXPECT_EQ(code, CS_E_BUSY);
}

TEST_F(CellTest, AFactoryThatAChangeInterruptsRunsAgain) {
  std::vector<int> ended;
  int built = 0;
  PerGeneration<int> cell(
      [&] {
        if (++built == 1) change();
        return built;
      },
      [&](std::unique_ptr<int> value, int stale) {
        ended.push_back(*value);
        EXPECT_EQ(stale, *value == 1 ? CS_CHANGED_GENERATION : 0);
      });
  const auto handle = cell.get();
  EXPECT_EQ(*handle, 2);
  EXPECT_FALSE(handle.stale());
  EXPECT_THAT(ended, ElementsAre(1));
}

TEST_F(CellTest, AFactoryThatIsAlwaysInterruptedEndsWithAnError) {
  PerGeneration<int> cell([&] {
    change();
    return 1;
  });
  try {
    cell.get();
    FAIL();
  } catch (const LibraryError& error) {
    EXPECT_EQ(error.code(), CS_E_UNSTABLE);
  }
}

TEST_F(CellTest, OnlyTheChosenChangesCount) {
  int built = 0;
  const auto factory = [&] { return ++built; };
  PerGeneration<std::mt19937> identity(
      [&] { return std::mt19937(static_cast<unsigned>(++built)); });
  PerGeneration<int> generator(factory, nullptr, CS_CHANGED_RESEED);
  const auto engine = identity.get();
  EXPECT_EQ(*generator.get(), 2);
  reseed_only();
  EXPECT_EQ(identity.get().get(), engine.get());
  EXPECT_EQ(*generator.get(), 3);
}

TEST_F(CellTest, AChildOfForkBuildsItsOwnAlsoWhereAnotherThreadWasBuilding) {
  core::seams_for_testing.detect_forks = true;
  restart();
  std::latch building(1);
  std::latch go_on(1);
  std::atomic<int> built = 0;
  PerGeneration<int> cell([&] {
    if (++built == 1) {
      building.count_down();
      go_on.wait();
    }
    return built.load();
  });
  std::thread first([&] { EXPECT_EQ(*cell.get(), 1); });
  building.wait();
  run_clones(1, [&](int) {
    EXPECT_EQ(*cell.get(), 2);
    return std::vector<Value>{};
  });
  go_on.count_down();
  first.join();
  run_clones(1, [&](int) {
    EXPECT_EQ(*cell.get(), 2);
    return std::vector<Value>{};
  });
  EXPECT_EQ(*cell.get(), 1);
}

// Threads are caught by the fork wherever they are in the lock.
TEST_F(CellTest, ForksOfABusyProcessLeaveNoLockBehind) {
  core::seams_for_testing.detect_forks = true;
  restart();
  PerGeneration<int> cell([] { return 1; });
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        cell.get();
        cell.reset();
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    run_clones(1, [&](int) {
      EXPECT_EQ(*cell.get(), 1);
      return std::vector<Value>{};
    });
  }
  stop = true;
  for (auto& thread : threads) thread.join();
}

// A snapshot that falls after the value was made and before it is looked at.
TEST_F(CellTest, CloneAtTheEndOfABuildBuildsAgain) {
  PerGeneration<Value> cell([] { return draw(); });
  static Clones* clones;
  Clones made;
  clones = &made;
  core::seams_for_testing.stop = [](core::StopPoint point) {
    if (point != core::StopPoint::kAfterBuild || clones == nullptr) return;
    if (const int number = std::exchange(clones, nullptr)->spawn(3); number > 0)
      write_page_as_vmm({.generation = 100u + static_cast<unsigned>(number),
                         .reseed_epoch = 100,
                         .diversifier = static_cast<std::uint8_t>(number)});
  };
  const Value value = *cell.get();
  core::seams_for_testing.stop = nullptr;
  if (made.number() > 0) made.finish({value});
  std::vector<Value> values = {value};
  for (const auto& one : made.collect()) values.push_back(one.at(0));
  EXPECT_EQ(values.size(), 4u);
  EXPECT_EQ(count_repeated(values), 0u);
}

// C: a static cell.
cs_cell c_cell = {.changes = 0, .release = nullptr, .argument = nullptr};

TEST_F(CellTest, InC) {
  static int value;
  cs_handle* handle = nullptr;
  const auto failing = [](void*, void**) { return 42; };
  const auto building = [](void* argument, void** made) {
    *made = argument;
    return 0;
  };
  EXPECT_EQ(cs_once_per_generation(&c_cell, failing, nullptr, &handle), 42);
  EXPECT_EQ(handle, nullptr);
  EXPECT_EQ(cs_once_per_generation(nullptr, building, &value, &handle), CS_E_INVALID);
  EXPECT_EQ(cs_once_per_generation(&c_cell, nullptr, &value, &handle), CS_E_INVALID);
  EXPECT_EQ(cs_once_per_generation(&c_cell, building, &value, nullptr), CS_E_INVALID);
  ASSERT_EQ(cs_once_per_generation(&c_cell, building, &value, &handle), 0);
  EXPECT_EQ(cs_handle_value(handle), &value);
  EXPECT_EQ(cs_handle_stale(handle), 0);
  change();
  EXPECT_EQ(cs_handle_stale(handle), CS_CHANGED_GENERATION);
  cs_handle_release(handle);
  cs_handle_release(nullptr);
  cs_cell_clear(&c_cell);
  cs_cell_clear(nullptr);
}

}  // namespace
}  // namespace clonesafe::laboratory
