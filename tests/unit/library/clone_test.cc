// Clones of a process that are equal in everything but what the generation tells them.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {
namespace {

constexpr int kClones = 8;
constexpr int kThreads = 4;

class CloneTest : public Laboratory {
 protected:
  static std::vector<Value> flatten(const std::vector<std::vector<Value>>& all) {
    std::vector<Value> values;
    for (const auto& one : all) values.insert(values.end(), one.begin(), one.end());
    return values;
  }
  // What the source draws when it goes on, without a change of its own.
  static std::vector<std::vector<Value>> with_source(std::vector<std::vector<Value>> clones,
                                                     std::size_t count) {
    clones.push_back(draw_many(count));
    return clones;
  }
};

Publication restored(int clone) {
  return {.generation = static_cast<std::uint64_t>(1000 + clone),
          .reseed_epoch = static_cast<std::uint64_t>(1000 + clone),
          .diversifier = static_cast<std::uint8_t>(clone),
          .state = CLONESAFE_STATE_REPAIRING};
}

// The twin of what follows: these clones do repeat each other, unless they are told.
TEST_F(CloneTest, ClonesThatAreToldNothingRepeatEachOther) {
  publish({});
  restart();
  draw_many(5);
  const auto all = with_source(run_clones(kClones, [](int) { return draw_many(3); }), 3);
  for (const auto& values : all) EXPECT_EQ(values, all[0]);
}

TEST_F(CloneTest, FirstValuesOfClonesAndThreadsAreAllDifferent) {
  publish({});
  restart();
  draw_many(5);  // the source's generator is warm, its block half used
  const auto body = [](int clone) {
    write_page_as_vmm(restored(clone));
    std::vector<Value> values = draw_many(64);
    std::array<std::vector<Value>, kThreads> from_threads;
    std::vector<std::thread> threads;
    for (auto& output : from_threads) {
      threads.emplace_back([&output] {
        output = draw_many(32);
        Value uuid = {};
        EXPECT_EQ(cs_uuid4(uuid.data()), 0);
        output.push_back(uuid);
      });
    }
    for (auto& thread : threads) thread.join();
    for (const auto& output : from_threads)
      values.insert(values.end(), output.begin(), output.end());
    return values;
  };
  const auto values = flatten(with_source(run_clones(kClones, body), 64));
  EXPECT_EQ(values.size(), std::size_t{kClones * (64 + kThreads * 33) + 64});
  EXPECT_EQ(count_repeated(values), 0u);
}

Value draw_private() {
  Value value = {};
  EXPECT_EQ(cs_random_private(value.data(), value.size()), 0);
  return value;
}
Value draw_fresh() {
  Value value = {};
  EXPECT_EQ(cs_random_fresh(value.data(), value.size()), 0);
  return value;
}

TEST_F(CloneTest, PrivateStreamsOfClonesDivergeAndShareNothingWithTheOthers) {
  publish({});
  restart();
  draw_many(5);
  draw_private();
  const auto body = [](int clone) {
    write_page_as_vmm(restored(clone));
    std::vector<Value> values;
    for (int i = 0; i < 32; ++i) {
      values.push_back(draw_private());
      values.push_back(draw());
      values.push_back(draw_fresh());
    }
    return values;
  };
  auto all = run_clones(kClones, body);
  all.push_back({draw_private(), draw(), draw_fresh()});
  const auto values = flatten(all);
  EXPECT_EQ(values.size(), std::size_t{kClones * 96 + 3});
  EXPECT_EQ(count_repeated(values), 0u);
}

// The twin: untold, a private stream repeats as well.
TEST_F(CloneTest, PrivateStreamsThatAreToldNothingRepeatEachOther) {
  publish({});
  restart();
  draw_private();
  const auto all = run_clones(2, [](int) { return std::vector<Value>{draw_private()}; });
  EXPECT_EQ(all[0], all[1]);
}

// Prediction resistance: new bytes of the kernel's for each draw, whatever the page says.
TEST_F(CloneTest, FreshDrawsTakeFromTheKernelEachTime) {
  publish({});
  restart();
  draw_private();
  const auto body = [](bool fresh) {
    return [fresh](int clone) {
      set_kernel_stream(100 + static_cast<std::uint64_t>(clone));
      return std::vector<Value>{fresh ? draw_fresh() : draw_private()};
    };
  };
  const auto fresh = run_clones(2, body(true));
  EXPECT_NE(fresh[0], fresh[1]);
  const auto stale = run_clones(2, body(false));
  EXPECT_EQ(stale[0], stale[1]) << "the twin: a draw that takes nothing";
}

TEST_F(CloneTest, CtrDrbgIsChosenBeforeTheFirstDrawAndDivergesToo) {
  publish({});
  restart();
  ASSERT_EQ(cs_use_core(CS_CORE_CTR_DRBG), 0);
  EXPECT_EQ(cs_use_core(7), CS_E_INVALID);
  draw_many(3);
  EXPECT_EQ(cs_use_core(CS_CORE_CHACHA20), CS_E_BUSY);
  const auto body = [](int clone) {
    write_page_as_vmm(restored(clone));
    std::vector<Value> values = draw_many(64);
    values.push_back(draw_private());
    values.push_back(draw_fresh());
    std::thread([&values] { values.push_back(draw()); }).join();
    return values;
  };
  EXPECT_EQ(count_repeated(flatten(with_source(run_clones(kClones, body), 64))), 0u);
}

TEST_F(CloneTest, EqualGenerationsWithDifferentDiversifiersDiverge) {
  publish({});
  restart();
  draw();
  const auto values = flatten(run_clones(kClones, [](int clone) {
    write_page_as_vmm({.generation = 2, .reseed_epoch = 2, .diversifier = std::uint8_t(clone)});
    return draw_many(8);
  }));
  EXPECT_EQ(count_repeated(values), 0u);
}

// The twin: it is the diversifier that separates them.
TEST_F(CloneTest, EqualGenerationsWithEqualDiversifiersRepeat) {
  publish({});
  restart();
  draw();
  const auto all = run_clones(2, [](int) {
    write_page_as_vmm({.generation = 2, .reseed_epoch = 2, .diversifier = 9});
    return draw_many(8);
  });
  EXPECT_EQ(all[0], all[1]);
}

TEST_F(CloneTest, DifferentVmGenerationIdsAloneDiverge) {
  publish({});
  restart();
  draw();
  const auto values = flatten(run_clones(kClones, [](int clone) {
    write_page_as_vmm(
        {.generation = 2, .reseed_epoch = 2, .vm_generation_id = std::uint8_t(clone)});
    return draw_many(8);
  }));
  EXPECT_EQ(count_repeated(values), 0u);
}

TEST_F(CloneTest, CloneOfACloneDivergesFromBothAncestors) {
  publish({});
  restart();
  draw();
  std::vector<std::vector<Value>> all = run_clones(2, [](int clone) {
    write_page_as_vmm(restored(clone));
    std::vector<Value> values = draw_many(4);
    Clones grandchildren;
    if (const int number = grandchildren.spawn(3); number > 0) {
      // As many draws as the parent made, from the same state but for the second restore.
      write_page_as_vmm(restored(10 * clone + number));
      grandchildren.finish(draw_many(4));
    }
    for (const auto& more : grandchildren.collect()) {
      values.insert(values.end(), more.begin(), more.end());
    }
    const auto rest = draw_many(4);
    values.insert(values.end(), rest.begin(), rest.end());
    return values;
  });
  const auto values = flatten(with_source(std::move(all), 4));
  EXPECT_EQ(values.size(), std::size_t{2 * 20 + 4});
  EXPECT_EQ(count_repeated(values), 0u);
}

// The source is told of its own snapshot by the reseed epoch only: its generation stays.
TEST_F(CloneTest, SourceThatResumesReseeds) {
  publish({});
  restart();
  draw();
  const auto all = run_clones(2, [](int clone) {
    if (clone == 1) write_page_as_vmm({.reseed_epoch = 77});
    return draw_many(4);
  });
  EXPECT_NE(all[0], all[1]);
}

// getrandom may have been cloned at the first reseed; when the agent has reseeded the kernel's
// generator the library takes from it again.
TEST_F(CloneTest, KernelEpochBringsASecondReseed) {
  publish({});
  restart();
  draw();
  const auto all = run_clones(3, [](int clone) {
    write_page_as_vmm({.generation = 2, .reseed_epoch = 2, .diversifier = 5});
    std::vector<Value> values = {draw()};
    set_kernel_stream(40 + static_cast<std::uint64_t>(clone));
    if (clone != 3) {
      write_page_as_agent(
          {.generation = 2, .reseed_epoch = 2, .kernel_rng_epoch = 2, .diversifier = 5});
    }
    values.push_back(draw());
    return values;
  });
  EXPECT_EQ(all[0][0], all[1][0]);  // equal diversifiers and equal kernels repeat, as they must
  EXPECT_NE(all[0][1], all[1][1]);
  // The twin: no epoch, no second reseed.
  const auto twin = run_clones(2, [](int clone) {
    write_page_as_vmm({.generation = 2, .reseed_epoch = 2, .diversifier = 5});
    draw();
    set_kernel_stream(40 + static_cast<std::uint64_t>(clone));
    return draw_many(1);
  });
  EXPECT_EQ(twin[0], twin[1]);
}

TEST_F(CloneTest, LaggingPageHasAWindowThatEndsWithTheAgentsPublish) {
  publish({.tier = CLONESAFE_TIER_LAGGING});
  restart();
  draw();
  const auto all = run_clones(kClones, [](int clone) {
    std::vector<Value> values = draw_many(2);  // before the agent woke
    Publication publication = restored(clone);
    publication.tier = CLONESAFE_TIER_LAGGING;
    write_page_as_agent(publication);
    const auto after = draw_many(8);
    values.insert(values.end(), after.begin(), after.end());
    return values;
  });
  std::vector<Value> after;
  for (const auto& values : all) {
    EXPECT_EQ(values[0], all[0][0]);
    EXPECT_EQ(values[1], all[0][1]);
    after.insert(after.end(), values.begin() + 2, values.end());
  }
  EXPECT_EQ(count_repeated(after), 0u);
}

// In that window, and without any source, a value is at least as unique as the kernel's.
TEST_F(CloneTest, WithoutATimelyWordTheKernelSeparatesAsSoonAsItDiffers) {
  for (const bool lagging_page : {true, false}) {
    SCOPED_TRACE(lagging_page);
    remove_page();
    if (lagging_page) publish({.tier = CLONESAFE_TIER_LAGGING});
    restart();
    draw();
    const auto values = flatten(run_clones(kClones, [](int clone) {
      set_kernel_stream(60 + static_cast<std::uint64_t>(clone));
      return draw_many(1);
    }));
    EXPECT_EQ(count_repeated(values), 0u);
  }
}

TEST_F(CloneTest, WithoutATimelyWordTheProcessorSeparates) {
  static std::atomic<std::uint64_t> processor;
  restart();
  draw();
  core::seams_for_testing.hardware_random = [](std::uint64_t(&words)[4]) {
    for (auto& word : words) word = processor;
    return true;
  };
  const auto values = flatten(run_clones(kClones, [](int clone) {
    processor = static_cast<std::uint64_t>(clone);
    return draw_many(1);
  }));
  EXPECT_EQ(count_repeated(values), 0u);
}

TEST_F(CloneTest, LongRequestsDivergeToo) {
  publish({});
  restart();
  draw();
  const auto body = [](int clone) {
    write_page_as_vmm(restored(clone));
    std::vector<std::uint8_t> bytes(100'000);
    EXPECT_EQ(cs_random(bytes.data(), bytes.size()), 0);
    std::vector<Value> values(64);
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(Value));
    return values;
  };
  EXPECT_EQ(count_repeated(flatten(run_clones(3, body))), 0u);
}

class NotUniqueTest : public CloneTest {
 protected:
  static int draw_code(Value& value) {
    value.fill(0xee);
    return cs_random(value.data(), value.size());
  }
};

// The word says that the machine was cloned, and nothing separates it: better no value than a
// sibling's.
TEST_F(NotUniqueTest, VmclockAloneFailsClosed) {
  write_vmclock(1);
  restart();
  draw();
  const auto all = run_clones(2, [](int) {
    write_clone_counter(2);
    Value value = {};
    EXPECT_EQ(draw_code(value), CS_E_NOT_UNIQUE);
    EXPECT_EQ(value, Value{});
    EXPECT_EQ(draw_code(value), CS_E_NOT_UNIQUE);
    // A thread that comes later can't do better.
    std::thread([] {
      Value late = {};
      EXPECT_EQ(draw_code(late), CS_E_NOT_UNIQUE);
    }).join();
    // The processor can help out.
    core::seams_for_testing.hardware_random = [](std::uint64_t(&words)[4]) {
      for (auto& word : words) word = 4;
      return true;
    };
    EXPECT_EQ(draw_code(value), 0);
    return std::vector<Value>{};
  });
  EXPECT_EQ(all.size(), 2u);
}

TEST_F(NotUniqueTest, WaitsForTheAgentWhenVmclockIsAheadOfIt) {
  core::seams_for_testing.uniqueness_wait_ms = 20'000;
  publish({.tier = CLONESAFE_TIER_LAGGING});
  write_vmclock(1);
  restart();
  draw();
  const auto values = flatten(run_clones(kClones, [](int clone) {
    write_clone_counter(2);
    // The agent publishes while the draw waits: at its third look.
    static int looks;
    static int number;
    looks = 0;
    number = clone;
    core::seams_for_testing.stop = [](core::StopPoint point) {
      if (point != core::StopPoint::kAfterStamp || ++looks != 3) return;
      Publication publication = restored(number);
      publication.tier = CLONESAFE_TIER_LAGGING;
      write_page_as_agent(publication);
    };
    const auto drawn = draw_many(4);
    EXPECT_GE(looks, 4);
    return drawn;
  }));
  EXPECT_EQ(values.size(), std::size_t{kClones * 4});
  EXPECT_EQ(count_repeated(values), 0u);
}

TEST_F(NotUniqueTest, NewGenerationWithTheOldDiversifierFailsClosedUntilRepaired) {
  publish({.diversifier = 3});
  restart();
  draw();
  run_clones(1, [](int) {
    Value value = {};
    write_page_as_vmm(
        {.generation = 2, .reseed_epoch = 2, .diversifier = 3, .state = CLONESAFE_STATE_REPAIRING});
    EXPECT_EQ(draw_code(value), CS_E_NOT_UNIQUE);
    write_page_as_agent(
        {.generation = 2, .reseed_epoch = 2, .kernel_rng_epoch = 2, .diversifier = 3});
    EXPECT_EQ(draw_code(value), 0);
    return std::vector<Value>{};
  });
}

TEST_F(NotUniqueTest, PageThatNeverSettlesIsAnErrorAndNotAHang) {
  publish({});
  restart();
  draw();
  run_clones(1, [](int) {
    core::seams_for_testing.stop = [](core::StopPoint point) {
      if (point == core::StopPoint::kAfterGather) write_page_as_agent({});
    };
    write_page_as_vmm(restored(1));
    Value value = {};
    EXPECT_EQ(draw_code(value), CS_E_UNSTABLE);
    EXPECT_EQ(value, Value{});
    core::seams_for_testing.stop = nullptr;
    EXPECT_EQ(draw_code(value), 0);
    return std::vector<Value>{};
  });
}

}  // namespace
}  // namespace clonesafe::laboratory
