#include <gmock/gmock.h>

#include <array>
#include <cstring>
#include <thread>

#include "tests/unit/ids/ids_laboratory.h"

namespace clonesafe::laboratory {
namespace {

constexpr std::uint64_t kNowMs = kSomeTimeNs / 1'000'000;

class SnowflakeTest : public IdsLaboratory {
 protected:
  SnowflakeTest() : coordinator_(make_coordinator()) {}

  int make_one(std::uint64_t& id) {
    id = 77;
    return cs_snowflake_try(snowflake_.get(), &id);
  }
  cs_snowflake_parts parts_of(std::uint64_t id, const cs_snowflake_config* config = nullptr) {
    cs_snowflake_parts parts = {};
    EXPECT_EQ(cs_snowflake_split(config, id, &parts), 0);
    return parts;
  }
  void start(const cs_snowflake_config* config = nullptr) {
    snowflake_ = make_snowflake(lessor_of(*coordinator_), config);
  }

  SharedCoordinator coordinator_;
  SnowflakePointer snowflake_;
};

TEST_F(SnowflakeTest, HasTimeWorkerAndSequence) {
  coordinator_->next_worker = 513;
  start();
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  ASSERT_EQ(make_one(first), 0);
  ASSERT_EQ(make_one(second), 0);
  EXPECT_EQ(first, (kNowMs - CS_SNOWFLAKE_EPOCH_MS) << 22 | 513 << 12);
  EXPECT_EQ(second, first + 1);
  const cs_snowflake_parts parts = parts_of(second);
  EXPECT_EQ(parts.unix_ms, kNowMs);
  EXPECT_EQ(parts.worker, 513u);
  EXPECT_EQ(parts.sequence, 1u);
  set_clock(kSomeTimeNs + 5'000'000);
  ASSERT_EQ(make_one(first), 0);
  EXPECT_EQ(parts_of(first).unix_ms, kNowMs + 5);
  EXPECT_EQ(parts_of(first).sequence, 0u);
  // One question for all of them.
  EXPECT_EQ(coordinator_->asked, 1u);
}

TEST_F(SnowflakeTest, LayoutIsConfigurable) {
  const cs_snowflake_config config = {
      .epoch_ms = kNowMs - 3, .time_bits = 39, .worker_bits = 16, .sequence_bits = 8};
  coordinator_->next_worker = 65535;
  start(&config);
  std::uint64_t id = 0;
  ASSERT_EQ(make_one(id), 0);
  EXPECT_EQ(id, std::uint64_t{3} << 24 | 65535 << 8);
  EXPECT_EQ(parts_of(id, &config).unix_ms, kNowMs);
}

TEST_F(SnowflakeTest, MisuseIsACode) {
  const cs_lessor lessor = lessor_of(*coordinator_);
  cs_snowflake* snowflake = nullptr;
  for (const cs_snowflake_config& bad :
       {cs_snowflake_config{.time_bits = 41, .worker_bits = 10, .sequence_bits = 11},
        cs_snowflake_config{.time_bits = 41, .worker_bits = 10, .sequence_bits = 13},
        cs_snowflake_config{.time_bits = 0, .worker_bits = 31, .sequence_bits = 32},
        cs_snowflake_config{.time_bits = 63, .worker_bits = 0, .sequence_bits = 0},
        cs_snowflake_config{.time_bits = 20, .worker_bits = 10, .sequence_bits = 33},
        cs_snowflake_config{.time_bits = 20, .worker_bits = 33, .sequence_bits = 10},
        cs_snowflake_config{.min_tier = 9}, cs_snowflake_config{.reserved = 1},
        cs_snowflake_config{.epoch_ms = UINT64_MAX}}) {
    EXPECT_EQ(cs_snowflake_new(&bad, &lessor, &snowflake), CS_E_INVALID);
    EXPECT_EQ(snowflake, nullptr);
    cs_snowflake_parts parts = {};
    EXPECT_EQ(cs_snowflake_split(&bad, 1, &parts), CS_E_INVALID);
  }
  const cs_lessor nobody = {};
  EXPECT_EQ(cs_snowflake_new(nullptr, &nobody, &snowflake), CS_E_INVALID);
  EXPECT_EQ(cs_snowflake_new(nullptr, nullptr, &snowflake), CS_E_INVALID);
  EXPECT_EQ(cs_snowflake_new(nullptr, &lessor, nullptr), CS_E_INVALID);
  std::uint64_t id = 9;
  EXPECT_EQ(cs_snowflake_try(nullptr, &id), CS_E_INVALID);
  EXPECT_EQ(id, 0u);
  start();
  EXPECT_EQ(cs_snowflake_next(snowflake_.get(), 0, nullptr), CS_E_INVALID);
  EXPECT_EQ(cs_snowflake_split(nullptr, 1, nullptr), CS_E_INVALID);
  cs_snowflake_parts parts = {};
  EXPECT_EQ(cs_snowflake_split(nullptr, UINT64_MAX, &parts), CS_E_INVALID);
  cs_snowflake_free(nullptr);
}

TEST_F(SnowflakeTest, WithoutALeaseThereIsNone) {
  coordinator_->refusals = 1000;
  start();
  std::uint64_t id = 0;
  EXPECT_EQ(make_one(id), CS_E_NO_LEASE);
  EXPECT_EQ(id, 0u);
  EXPECT_EQ(coordinator_->asked, 1u);
  // Asked again and again until the time is up.
  id = 77;
  EXPECT_EQ(cs_snowflake_next(snowflake_.get(), 8, &id), CS_E_NO_LEASE);
  EXPECT_EQ(id, 0u);
  EXPECT_GE(coordinator_->asked, 3u);
  coordinator_->refusals = 2;
  EXPECT_EQ(cs_snowflake_next(snowflake_.get(), -1, &id), 0);
  EXPECT_NE(id, 0u);
  // Another refusal is handed on, and ends the wait.
  start();
  coordinator_->refusal = CS_E_NOT_UNIQUE;
  coordinator_->refusals = 1;
  EXPECT_EQ(cs_snowflake_next(snowflake_.get(), -1, &id), CS_E_NOT_UNIQUE);
  coordinator_->refusal = 5;
  coordinator_->refusals = 1;
  EXPECT_EQ(make_one(id), CS_E_INVALID);
}

TEST_F(SnowflakeTest, LeaseEndsWithTheGenerationUntilANewOneIsGiven) {
  start();
  std::uint64_t id = 0;
  ASSERT_EQ(make_one(id), 0);
  const auto all = run_clones(4, [this](int clone) {
    write_page_as_vmm(restored_clone(clone));
    std::uint64_t made = 0;
    coordinator_->refusals = 1;
    // Nothing, rather than what the source makes.
    while (make_one(made) == CS_E_NO_LEASE) EXPECT_EQ(made, 0u);
    return std::vector<Value>{value_of(made)};
  });
  EXPECT_EQ(coordinator_->lost, 4u);
  EXPECT_EQ(coordinator_->released, 0u);
  std::vector<Value> values;
  for (const auto& one : all) values.insert(values.end(), one.begin(), one.end());
  ASSERT_EQ(make_one(id), 0);
  values.push_back(value_of(id));
  EXPECT_EQ(count_repeated(values), 0u);
}

TEST_F(SnowflakeTest, RefusedCloneMakesNone) {
  start();
  std::uint64_t id = 0;
  ASSERT_EQ(make_one(id), 0);
  coordinator_->refusals = 1'000'000;
  run_clones(2, [this](int clone) {
    write_page_as_vmm(restored_clone(clone));
    std::uint64_t made = 0;
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(make_one(made), CS_E_NO_LEASE);
      EXPECT_EQ(made, 0u);
    }
    return std::vector<Value>{};
  });
  // The source goes on with what it has.
  EXPECT_EQ(make_one(id), 0);
}

TEST_F(SnowflakeTest, ForkEndsTheLeaseInTheChildOnly) {
  core::seams_for_testing.detect_forks = true;
  restart();
  start();
  std::uint64_t id = 0;
  ASSERT_EQ(make_one(id), 0);
  const std::uint64_t worker = parts_of(id).worker;
  run_clones(1, [&](int) {
    std::uint64_t made = 0;
    EXPECT_EQ(make_one(made), 0);
    EXPECT_NE(parts_of(made).worker, worker);
    return std::vector<Value>{};
  });
  ASSERT_EQ(make_one(id), 0);
  EXPECT_EQ(parts_of(id).worker, worker);
  EXPECT_EQ(coordinator_->asked, 2u);
  EXPECT_EQ(coordinator_->lost, 1u);
}

// The source that goes on after its own snapshot reseeds, and keeps its worker id.
TEST_F(SnowflakeTest, LeaseOutlivesAReseedAndAChangeOfState) {
  start();
  std::uint64_t first = 0;
  ASSERT_EQ(make_one(first), 0);
  publish({.reseed_epoch = 2, .state = CLONESAFE_STATE_REPAIRING});
  std::uint64_t second = 0;
  ASSERT_EQ(make_one(second), 0);
  EXPECT_EQ(second, first + 1);
  publish({.reseed_epoch = 2, .kernel_rng_epoch = 2});
  ASSERT_EQ(make_one(second), 0);
  EXPECT_EQ(second, first + 2);
  EXPECT_EQ(coordinator_->asked, 1u);
  publish({.generation = 2, .reseed_epoch = 2});
  ASSERT_EQ(make_one(second), 0);
  EXPECT_EQ(coordinator_->asked, 2u);
}

TEST_F(SnowflakeTest, CloneWhileTheLessorAnswersAsksAgain) {
  start();
  static bool done;
  done = false;
  const auto all = run_clones(1, [this](int) {
    core::seams_for_testing.stop = [](core::StopPoint point) {
      if (point != core::StopPoint::kAfterLease || std::exchange(done, true)) return;
      write_page_as_vmm(restored_clone(1));
    };
    std::uint64_t made = 0;
    EXPECT_EQ(make_one(made), 0);
    EXPECT_EQ(parts_of(made).worker, 1u);
    return std::vector<Value>{};
  });
  EXPECT_EQ(coordinator_->asked, 2u);
  EXPECT_EQ(coordinator_->lost, 1u);
}

TEST_F(SnowflakeTest, UsedUpMillisecondIsWaitedForOrAnError) {
  const cs_snowflake_config config = {
      .epoch_ms = CS_SNOWFLAKE_EPOCH_MS, .time_bits = 51, .worker_bits = 10, .sequence_bits = 2};
  start(&config);
  std::uint64_t id = 0;
  std::uint64_t last = 0;
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(make_one(id), 0);
    EXPECT_GT(id, last);
    last = id;
  }
  EXPECT_EQ(make_one(id), CS_E_CLOCK);
  EXPECT_EQ(id, 0u);
  EXPECT_EQ(cs_snowflake_next(snowflake_.get(), 3, &id), CS_E_CLOCK);
  EXPECT_EQ(id, 0u);
  set_clock(kSomeTimeNs, 200'000);  // goes on with every look at it
  ASSERT_EQ(cs_snowflake_next(snowflake_.get(), -1, &id), 0);
  EXPECT_GT(id, last);
  EXPECT_EQ(parts_of(id, &config).unix_ms, kNowMs + 1);
}

TEST_F(SnowflakeTest, ClockSetBackByAnHourRepeatsNothing) {
  const cs_snowflake_config config = {
      .epoch_ms = CS_SNOWFLAKE_EPOCH_MS, .time_bits = 50, .worker_bits = 10, .sequence_bits = 3};
  start(&config);
  std::vector<Value> values;
  std::uint64_t id = 0;
  std::uint64_t last = 0;
  for (int i = 0; i < 3; ++i) {
    set_clock(kSomeTimeNs + i * std::int64_t{1'000'000});
    ASSERT_EQ(make_one(id), 0);
    values.push_back(value_of(id));
  }
  set_clock(kSomeTimeNs - kHourNs);
  int made = 0;
  while (make_one(id) == 0) {
    EXPECT_GT(id, last);
    last = id;
    values.push_back(value_of(id));
    ASSERT_LT(++made, 8);
  }
  EXPECT_EQ(made, 7);  // the rest of the last millisecond's
  EXPECT_EQ(make_one(id), CS_E_CLOCK);
  EXPECT_EQ(cs_snowflake_next(snowflake_.get(), 2, &id), CS_E_CLOCK);
  // The hour again.
  for (int i = 0; i < 3; ++i) {
    set_clock(kSomeTimeNs + i * std::int64_t{1'000'000});
    EXPECT_EQ(make_one(id), CS_E_CLOCK);
  }
  set_clock(kSomeTimeNs + 3'000'000);
  ASSERT_EQ(make_one(id), 0);
  values.push_back(value_of(id));
  EXPECT_EQ(count_repeated(values), 0u);
}

TEST_F(SnowflakeTest, TimeOutsideOfTheLayoutIsAnErrorAndNeverWrapsAround) {
  const cs_snowflake_config config = {
      .epoch_ms = kNowMs, .time_bits = 21, .worker_bits = 20, .sequence_bits = 22};
  start(&config);
  std::uint64_t id = 0;
  set_clock(kSomeTimeNs - 2'000'000);
  EXPECT_EQ(make_one(id), CS_E_CLOCK);
  set_clock(kSomeTimeNs + ((std::int64_t{1} << 21) - 1) * 1'000'000);
  EXPECT_EQ(make_one(id), 0);
  EXPECT_EQ(id >> 42, (1u << 21) - 1);
  set_clock(kSomeTimeNs + (std::int64_t{1} << 21) * 1'000'000);
  EXPECT_EQ(make_one(id), CS_E_CLOCK);
  // Waiting would not help.
  EXPECT_EQ(cs_snowflake_next(snowflake_.get(), -1, &id), CS_E_CLOCK);
}

TEST_F(SnowflakeTest, EarlierHolderIsHeeded) {
  coordinator_->used_until_ms = kNowMs + 2;
  start();
  std::uint64_t id = 0;
  EXPECT_EQ(make_one(id), CS_E_CLOCK);
  set_clock(kSomeTimeNs + 2'000'000);
  EXPECT_EQ(make_one(id), CS_E_CLOCK);
  set_clock(kSomeTimeNs + 3'000'000);
  EXPECT_EQ(make_one(id), 0);
  // A lessor that doesn't know of one: the present millisecond may have been used.
  coordinator_->used_until_ms = 0;
  set_clock(kSomeTimeNs);
  start();
  EXPECT_EQ(make_one(id), CS_E_CLOCK);
  set_clock(kSomeTimeNs + 1'000'000);
  EXPECT_EQ(make_one(id), 0);
  EXPECT_EQ(parts_of(id).unix_ms, kNowMs + 1);
}

TEST_F(SnowflakeTest, LeaseWithADurationIsAskedForAgain) {
  coordinator_->duration_ms = 1;
  set_clock(kSomeTimeNs, 1'000);
  start();
  std::uint64_t id = 0;
  ASSERT_EQ(make_one(id), 0);
  const std::uint64_t worker = parts_of(id).worker;
  while (coordinator_->asked == 1) ASSERT_EQ(make_one(id), 0);
  EXPECT_EQ(coordinator_->released, 1u);
  EXPECT_GE(coordinator_->last_ms, kNowMs);
  coordinator_->duration_ms = 1'000'000;
  coordinator_->asked = 0;
  while (coordinator_->asked == 0) (void)make_one(id);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(make_one(id), 0);
  EXPECT_EQ(coordinator_->asked, 1u);
  EXPECT_NE(parts_of(id).worker, worker);
}

TEST_F(SnowflakeTest, WorkerThatDoesNotFitIsRefusedAndGivenBack) {
  cs_lessor lessor = lessor_of(*coordinator_);
  lessor.acquire = [](void*, std::uint64_t workers, cs_lease* lease) {
    lease->worker = workers;
    return 0;
  };
  snowflake_ = make_snowflake(lessor);
  std::uint64_t id = 0;
  EXPECT_EQ(make_one(id), CS_E_INVALID);
  EXPECT_EQ(coordinator_->released, 1u);
}

TEST_F(SnowflakeTest, LessorHearsOfEveryMillisecondBeforeItIsUsed) {
  static std::vector<std::uint64_t> told;
  static int refusal;
  told.clear();
  refusal = 0;
  cs_lessor lessor = lessor_of(*coordinator_);
  lessor.advance = [](void*, const cs_lease*, std::uint64_t* until_ms) {
    if (refusal != 0) return refusal;
    told.push_back(*until_ms);
    *until_ms += 10;
    return 0;
  };
  snowflake_ = make_snowflake(lessor);
  std::uint64_t id = 0;
  for (int i = 0; i <= 25; ++i) {
    set_clock(kSomeTimeNs + i * std::int64_t{1'000'000});
    ASSERT_EQ(make_one(id), 0);
  }
  EXPECT_THAT(told, ::testing::ElementsAre(kNowMs, kNowMs + 11, kNowMs + 22));
  refusal = CS_E_NO_LEASE;
  set_clock(kSomeTimeNs + 32'000'000);
  EXPECT_EQ(make_one(id), 0);
  set_clock(kSomeTimeNs + 33'000'000);
  EXPECT_EQ(make_one(id), CS_E_NO_LEASE);
  EXPECT_EQ(id, 0u);
}

TEST_F(SnowflakeTest, MachineBelowTheTierGetsNoLease) {
  const cs_snowflake_config config = {.epoch_ms = CS_SNOWFLAKE_EPOCH_MS, .min_tier = CS_TIER_WORD};
  publish({.tier = CLONESAFE_TIER_LAGGING});
  start(&config);
  std::uint64_t id = 0;
  EXPECT_EQ(make_one(id), CS_E_NO_LEASE);
  EXPECT_EQ(coordinator_->asked, 0u);
  publish({.tier = CLONESAFE_TIER_WORD});
  EXPECT_EQ(make_one(id), 0);
  publish({.tier = CLONESAFE_TIER_LAGGING});
  EXPECT_EQ(make_one(id), CS_E_NO_LEASE);
}

TEST_F(SnowflakeTest, FreeGivesBackWhatIsOwned) {
  start();
  std::uint64_t id = 0;
  ASSERT_EQ(make_one(id), 0);
  run_clones(1, [this](int clone) {
    write_page_as_vmm(restored_clone(clone));
    snowflake_.reset();
    return std::vector<Value>{};
  });
  EXPECT_EQ(coordinator_->lost, 1u);
  EXPECT_EQ(coordinator_->released, 0u);
  snowflake_.reset();
  EXPECT_EQ(coordinator_->released, 1u);
  EXPECT_EQ(coordinator_->last_ms, kNowMs);
}

TEST_F(SnowflakeTest, ThreadsShareALeaseAndRepeatNothing) {
  set_clock(kSomeTimeNs, 1'000);
  start();
  std::array<std::vector<Value>, 4> from_threads;
  std::vector<std::thread> threads;
  for (auto& output : from_threads) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3000; ++i) {
        std::uint64_t id = 0;
        ASSERT_EQ(cs_snowflake_next(snowflake_.get(), -1, &id), 0);
        output.push_back(value_of(id));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::vector<Value> values;
  for (const auto& output : from_threads) values.insert(values.end(), output.begin(), output.end());
  EXPECT_EQ(values.size(), 12000u);
  EXPECT_EQ(count_repeated(values), 0u);
  EXPECT_EQ(coordinator_->asked, 1u);
}

TEST_F(SnowflakeTest, CppLessor) {
  class Counter : public Lessor {
   public:
    explicit Counter(std::vector<std::string>& log) : log_(log) {}
    ~Counter() override { log_.emplace_back("gone"); }
    std::optional<cs_lease> acquire(std::uint64_t workers) override {
      log_.emplace_back("asked");
      if (log_.size() == 1) throw std::runtime_error("no answer");
      if (log_.size() == 2) return std::nullopt;
      cs_lease lease = {};
      lease.worker = workers - 1;
      lease.used_until_ms = 1;
      return lease;
    }
    void release(const cs_lease& lease, bool lost, std::uint64_t) override {
      log_.push_back((lost ? "lost " : "released ") + std::to_string(lease.worker));
    }

   private:
    std::vector<std::string>& log_;
  };
  std::vector<std::string> log;
  {
    Snowflake source(std::make_unique<Counter>(log));
    EXPECT_EQ(source.try_next(), std::nullopt);
    EXPECT_EQ(source.try_next(), std::nullopt);
    const std::uint64_t id = source.next(std::chrono::milliseconds(-1));
    EXPECT_EQ(Snowflake::split(id)->worker, 1023u);
    EXPECT_EQ(Snowflake::split(id)->unix_ms, kNowMs);
    Snowflake moved = std::move(source);
    EXPECT_NE(moved.try_next(), id);
  }
  EXPECT_THAT(log, ::testing::ElementsAre("asked", "asked", "asked", "released 1023", "gone"));
  Snowflake::Config bad = Snowflake::default_config();
  bad.time_bits = 1;
  EXPECT_THROW(Snowflake(std::make_unique<Counter>(log), bad), LibraryError);
  EXPECT_THROW(Snowflake(std::unique_ptr<Lessor>()), LibraryError);
}

}  // namespace
}  // namespace clonesafe::laboratory
