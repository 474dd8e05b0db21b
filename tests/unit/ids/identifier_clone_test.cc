// Clones that are equal in everything but what the generation tells them, their clocks included,
// and every kind of random value and identifier.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <openssl/rand.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include <uuid/uuid.h>

#include <array>
#include <boost/uuid/random_generator.hpp>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <thread>

#include "clonesafe/values.h"
#include "libclonesafe/ids/layout.h"
#include "tests/unit/ids/ids_laboratory.h"

// What stock generators call in this program (see CMakeLists.txt): what is equal in clones of a
// machine, and isn't in processes that stand in for them. libuuid keeps its clock in a file, which
// clones have a copy of each. libcrypto takes another process id for a fork, and clones have one.
// Clones' kernels give the same until they are told.
static bool equal_kernels = false;  // of siblings
extern "C" pid_t getpid() noexcept {
  return equal_kernels ? 4711 : static_cast<pid_t>(::syscall(SYS_getpid));
}
extern "C" ssize_t __real_getrandom(void* buffer, std::size_t size, unsigned flags);
extern "C" ssize_t __wrap_getrandom(void* buffer, std::size_t size, unsigned flags);
extern "C" ssize_t __wrap_getrandom(void* buffer, std::size_t size, unsigned flags) {
  static std::uint8_t next = 0;
  if (!equal_kernels) return __real_getrandom(buffer, size, flags);
  std::memset(buffer, ++next, size);
  return static_cast<ssize_t>(size);
}
extern "C" int __wrap_gettimeofday(timeval* time, void*);
extern "C" int __wrap_gettimeofday(timeval* time, void*) {
  const std::int64_t now = clonesafe::laboratory::clock_ns();
  *time = {.tv_sec = now / 1'000'000'000, .tv_usec = now % 1'000'000'000 / 1000};
  return 0;
}
extern "C" int __real_open(const char* path, int flags, ...);
extern "C" int __wrap_open(const char* path, int flags, ...);
extern "C" int __wrap_open(const char* path, int flags, ...) {
  if (std::strstr(path, "libuuid") != nullptr) return -1;
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return __real_open(path, flags, mode);
}

namespace clonesafe::laboratory {
namespace {

using core::StopPoint;

constexpr int kIdClones = 8;
constexpr int kIdThreads = 4;
constexpr std::size_t kAllKinds = std::size(kKinds) + 1;  // and Snowflakes

std::vector<Value> flat(const std::vector<std::vector<Value>>& all) {
  std::vector<Value> values;
  for (const auto& one : all) values.insert(values.end(), one.begin(), one.end());
  return values;
}

class IdentifierCloneTest : public IdsLaboratory {
 protected:
  IdentifierCloneTest() : coordinator_(make_coordinator()) {
    snowflake_ = make_snowflake(lessor_of(*coordinator_));
    (void)make_all(3);  // the source is warm: it holds nodes, tails and a lease
  }

  Value make_snowflake_value() {
    std::uint64_t id = 0;
    const int result = cs_snowflake_try(snowflake_.get(), &id);
    EXPECT_EQ(result, 0) << cs_strerror(result);
    return value_of(id);
  }
  std::vector<Value> make_all(int count) {
    std::vector<Value> values;
    for (int i = 0; i < count; ++i) {
      for (const Kind kind : kKinds) values.push_back(make(kind));
      values.push_back(make_snowflake_value());
    }
    return values;
  }

  SharedCoordinator coordinator_;
  SnowflakePointer snowflake_;
};

TEST_F(IdentifierCloneTest, NoKindRepeatsInClonesAndThreads) {
  auto all = run_clones(kIdClones, [this](int clone) {
    write_page_as_vmm(restored_clone(clone));
    std::vector<Value> values = make_all(8);
    std::array<std::vector<Value>, kIdThreads> from_threads;
    std::vector<std::thread> threads;
    for (auto& output : from_threads) threads.emplace_back([&] { output = make_all(16); });
    for (auto& thread : threads) thread.join();
    for (const auto& output : from_threads) {
      values.insert(values.end(), output.begin(), output.end());
    }
    return values;
  });
  all.push_back(make_all(64));
  const auto values = flat(all);
  EXPECT_EQ(values.size(), kAllKinds * (kIdClones * (8 + kIdThreads * 16) + 64));
  EXPECT_EQ(count_repeated(values), 0u);
}

// The twin: the same clones, told nothing.
TEST_F(IdentifierCloneTest, EveryKindRepeatsInClonesThatAreToldNothing) {
  const auto all = run_clones(3, [this](int) { return make_all(8); });
  const auto own = make_all(8);
  for (const auto& values : all) EXPECT_EQ(values, own);
}

// What programs have without clonesafe, in clones that are told: they don't look.
struct StockGenerators {
  StockGenerators() { equal_kernels = true; }
  ~StockGenerators() { equal_kernels = false; }
  StockGenerators(const StockGenerators&) = delete;
  StockGenerators& operator=(const StockGenerators&) = delete;

  std::mt19937_64 random{std::random_device{}()};
  boost::uuids::random_generator_mt19937 boost_mt19937;
  boost::uuids::random_generator boost_kernel;
  ids::TimeBased time_based = {};
  ids::Monotonic monotonic = {};
  std::uint64_t sequence = 0;

  std::vector<Value> make_all() {
    std::array<Value, 10> values = {};
    const auto now = static_cast<std::uint64_t>(clock_ns());
    // Random once, as libuuid's node without a hardware address.
    if (time_based.ticks == 0) ids::put_big_endian(random(), time_based.node, 6);
    time_based.ticks = std::max(time_based.ticks + 1, now / 100 + ids::kGregorianToUnixTicks);
    ids::put_uuid1(time_based, values[0].data());
    ids::put_uuid6(time_based, values[1].data());
    if (monotonic.milliseconds < now / 1'000'000) {
      monotonic.milliseconds = now / 1'000'000;
      monotonic.tail = random();
    }
    monotonic.tail += 1;
    ids::put_uuid7(monotonic, values[2].data());
    ids::put_ulid(monotonic, values[3].data());
    values[4] = value_of(now / 1'000'000 << 22 | 7 << 12 | sequence++);
    ::uuid_generate_time(values[5].data());
    const auto from_boost = [](const boost::uuids::uuid& uuid) {
      Value value;
      std::memcpy(value.data(), uuid.data, value.size());
      return value;
    };
    values[6] = from_boost(boost_mt19937());
    values[7] = from_boost(boost_kernel());
    EXPECT_EQ(::RAND_bytes(values[8].data(), sizeof(Value)), 1);
    EXPECT_EQ(::RAND_priv_bytes(values[9].data(), sizeof(Value)), 1);
    return {values.begin(), values.end()};
  }
};

TEST_F(IdentifierCloneTest, StockGeneratorsRepeatEverything) {
  StockGenerators stock;
  const auto before = stock.make_all();
  const auto all = run_clones(kIdClones, [&](int clone) {
    write_page_as_vmm(restored_clone(clone));
    return stock.make_all();
  });
  const auto own = stock.make_all();
  for (const auto& values : all) EXPECT_EQ(values, own);
  // Nor is it because they make nothing new.
  EXPECT_EQ(count_repeated(flat({before, own})), 0u);
}

TEST_F(IdentifierCloneTest, CloneOfACloneInTheSameMillisecond) {
  auto all = run_clones(2, [this](int clone) {
    write_page_as_vmm(restored_clone(clone));
    std::vector<Value> values = make_all(4);
    Clones grandchildren;
    if (const int number = grandchildren.spawn(3); number > 0) {
      write_page_as_vmm(restored_clone(10 * clone + number));
      grandchildren.finish(make_all(4));
    }
    for (const auto& more : grandchildren.collect()) {
      values.insert(values.end(), more.begin(), more.end());
    }
    const auto rest = make_all(4);
    values.insert(values.end(), rest.begin(), rest.end());
    return values;
  });
  all.push_back(make_all(8));
  const auto values = flat(all);
  EXPECT_EQ(values.size(), kAllKinds * (2 * 20 + 8));
  EXPECT_EQ(count_repeated(values), 0u);
}

TEST_F(IdentifierCloneTest, NodeAndClockSequenceAreNewAfterEveryChange) {
  // Generation, reseed epoch (a source that resumes), and the kernel's epoch.
  const Publication changes[] = {
      {.generation = 5, .reseed_epoch = 5, .diversifier = 5},
      {.generation = 5, .reseed_epoch = 6, .diversifier = 5},
      {.generation = 5, .reseed_epoch = 6, .kernel_rng_epoch = 7, .diversifier = 5}};
  Value last = make(Kind::kUuid1);
  for (const Publication& change : changes) {
    publish(change);
    const Value uuid = make(Kind::kUuid1);
    EXPECT_FALSE(std::equal(uuid.begin() + 10, uuid.end(), last.begin() + 10));
    // 14 random bits; all three equal is a wonder, so only the node is sure to differ.
    last = uuid;
  }
}

// The steps within a millisecond are random too, but the tail that they begin at is a sibling's.
TEST_F(IdentifierCloneTest, TailIsDrawnAnewAfterEveryChange) {
  for (const Kind kind : {Kind::kUuid7, Kind::kUlid}) {
    // More than a step can move, and what it may carry.
    const auto upper = [](const Value& value) {
      return static_cast<std::int64_t>(ids::get_big_endian(value.data() + 6, 4));
    };
    std::int64_t last = upper(make(kind));
    EXPECT_LE(upper(make(kind)) - last, 1);
    for (std::uint64_t i = 2; i < 6; ++i) {
      publish({.generation = i, .reseed_epoch = i, .diversifier = static_cast<std::uint8_t>(i)});
      const std::int64_t now = upper(make(kind));
      EXPECT_GT(std::abs(now - last), 1);
      last = now;
    }
  }
}

// Where nothing tells of a restore in time, what separates is what each identifier takes anew.
TEST_F(IdentifierCloneTest, WithoutATimelyWordTheKernelSeparatesAsSoonAsItDiffers) {
  for (const bool lagging_page : {true, false}) {
    SCOPED_TRACE(lagging_page);
    remove_page();
    if (lagging_page) publish({.tier = CLONESAFE_TIER_LAGGING});
    restart();
    for (const Kind kind : kKinds) (void)make(kind);
    const auto values = flat(run_clones(kIdClones, [](int clone) {
      set_kernel_stream(60 + static_cast<std::uint64_t>(clone));
      std::vector<Value> made;
      for (const Kind kind : kKinds) made.push_back(make(kind));
      return made;
    }));
    EXPECT_EQ(values.size(), std::size(kKinds) * kIdClones);
    EXPECT_EQ(count_repeated(values), 0u);
  }
}

TEST_F(IdentifierCloneTest, ChildrenOfForkRepeatNothing) {
  core::seams_for_testing.detect_forks = true;
  core::seams_for_testing.freeze_local_inputs = false;
  restart();
  snowflake_ = make_snowflake(lessor_of(*coordinator_));
  make_all(3);
  auto all = run_clones(kIdClones, [this](int) {
    std::vector<Value> values = make_all(8);
    std::thread([&] {
      const auto more = make_all(8);
      values.insert(values.end(), more.begin(), more.end());
    }).join();
    return values;
  });
  all.push_back(make_all(16));
  const auto values = flat(all);
  EXPECT_EQ(values.size(), kAllKinds * 16 * (kIdClones + 1));
  EXPECT_EQ(count_repeated(values), 0u);
}

struct ArmedIdentifier {
  StopPoint point = StopPoint::kBeforeStamp;
  bool tell = true;
  Clones* clones = nullptr;
};
ArmedIdentifier armed_identifier;

class IdentifierStopPointTest : public IdentifierCloneTest {
 protected:
  using What = std::optional<Kind>;  // none: a Snowflake
  static std::vector<What> every_kind() {
    std::vector<What> kinds(std::begin(kKinds), std::end(kKinds));
    kinds.push_back(std::nullopt);
    return kinds;
  }
  // Of the others the draw's own places are the only ones.
  static bool is_identifier(What what) {
    return what != Kind::kRandom && what != Kind::kPrivate && what != Kind::kUuid4;
  }
  static StopPoint last_point(What what) {
    return is_identifier(what) ? StopPoint::kAfterIdentifierPostCheck : StopPoint::kAfterPostCheck;
  }
  static int number_of(What what) { return what ? static_cast<int>(*what) : -1; }

  Value make_what(What what) { return what ? make(*what) : make_snowflake_value(); }

  // At `point`, of the next that is made, there are `count` clones.
  static void snapshot_at(StopPoint point, Clones& clones, bool tell = true) {
    armed_identifier = {.point = point, .tell = tell, .clones = &clones};
    core::seams_for_testing.stop = [](StopPoint at) {
      if (armed_identifier.clones == nullptr || at != armed_identifier.point) return;
      Clones* spawner = std::exchange(armed_identifier.clones, nullptr);
      if (const int number = spawner->spawn(4); number > 0 && armed_identifier.tell) {
        write_page_as_vmm(restored_clone(number));
      }
    };
  }
  static void expect_reached() {
    EXPECT_EQ(armed_identifier.clones, nullptr) << "the stop-point was not reached";
    core::seams_for_testing.stop = nullptr;
  }

  struct Made {
    std::vector<Value> first;
    std::vector<Value> second;
  };
  // What source and clones make if the snapshot falls on `point` of the first. `cold`: the first
  // of the process, which draws a node, a tail or asks for a lease.
  Made make_over_snapshot(What what, StopPoint point, bool cold, bool tell = true) {
    remove_page();
    publish({});
    restart();
    snowflake_ = make_snowflake(lessor_of(*coordinator_));
    if (!cold) make_what(what);
    Clones clones;
    snapshot_at(point, clones, tell);
    const Value first = make_what(what);
    expect_reached();
    const std::vector<Value> values = {first, make_what(what)};
    if (clones.number() > 0) clones.finish(values);
    auto all = clones.collect();
    all.push_back(values);
    Made made;
    for (const auto& one : all) {
      EXPECT_EQ(one.size(), 2u);
      if (one.size() != 2) continue;
      made.first.push_back(one[0]);
      made.second.push_back(one[1]);
    }
    EXPECT_EQ(made.first.size(), 5u);
    return made;
  }

  struct Case {
    What what;
    StopPoint point;
    bool cold;
  };
  static std::vector<Case> before_the_end() {
    std::vector<Case> cases;
    for (const What what : every_kind()) {
      if (!is_identifier(what)) {
        for (const StopPoint point :
             {StopPoint::kBeforeStamp, StopPoint::kAfterStamp, StopPoint::kAfterGather,
              StopPoint::kAfterSeed, StopPoint::kAfterGenerate}) {
          cases.push_back({what, point, true});
        }
        cases.push_back({what, StopPoint::kAfterGenerate, false});
        continue;
      }
      for (const bool cold : {true, false}) {
        for (const StopPoint point :
             {StopPoint::kBeforeIdentifierStamp, StopPoint::kAfterIdentifierStamp,
              StopPoint::kAfterIdentifier}) {
          cases.push_back({what, point, cold});
        }
      }
      if (!what) {
        cases.push_back({what, StopPoint::kAfterLease, true});
        continue;
      }
      for (const StopPoint point : {StopPoint::kAfterStamp, StopPoint::kAfterGather,
                                    StopPoint::kAfterSeed, StopPoint::kAfterPostCheck}) {
        cases.push_back({what, point, true});
      }
    }
    for (const What what : {Kind::kUuid7, Kind::kUlid}) {
      cases.push_back({what, StopPoint::kAfterGenerate, false});
      cases.push_back({what, StopPoint::kAfterPostCheck, false});
    }
    return cases;
  }
};

TEST_F(IdentifierStopPointTest, SnapshotAnywhereBeforeThePostCheckRepeatsNothing) {
  for (const Case& one : before_the_end()) {
    SCOPED_TRACE(::testing::Message() << number_of(one.what) << " point "
                                      << static_cast<int>(one.point) << " cold " << one.cold);
    const Made made = make_over_snapshot(one.what, one.point, one.cold);
    std::vector<Value> values = made.first;
    values.insert(values.end(), made.second.begin(), made.second.end());
    EXPECT_EQ(count_repeated(values), 0u);
  }
}

TEST_F(IdentifierStopPointTest, TheSameSnapshotsRepeatEverythingWhenNobodyIsTold) {
  for (const Case& one : before_the_end()) {
    // A lessor that is asked after the snapshot answers each clone for itself.
    if (!one.what && one.cold && one.point != StopPoint::kAfterIdentifier &&
        one.point != StopPoint::kAfterLease) {
      continue;
    }
    SCOPED_TRACE(::testing::Message() << number_of(one.what) << " point "
                                      << static_cast<int>(one.point) << " cold " << one.cold);
    const Made made = make_over_snapshot(one.what, one.point, one.cold, false);
    EXPECT_THAT(made.first, ::testing::Each(made.first[0]));
    EXPECT_THAT(made.second, ::testing::Each(made.second[0]));
  }
}

TEST_F(IdentifierStopPointTest, SnapshotAfterThePostCheckRepeatsThatOneOnly) {
  for (const What what : every_kind()) {
    SCOPED_TRACE(number_of(what));
    const Made made = make_over_snapshot(what, last_point(what), false);
    EXPECT_THAT(made.first, ::testing::Each(made.first[0]));
    EXPECT_EQ(count_repeated(made.second), 0u);
  }
}

// Its tagged form is refused in the clones, which make another.
TEST_F(IdentifierStopPointTest, SnapshotAfterThePostCheckIsToldByTheTaggedForm) {
  for (const What what : every_kind()) {
    SCOPED_TRACE(number_of(what));
    make_what(what);
    Clones clones;
    snapshot_at(last_point(what), clones);
    cs_tagged tagged;
    std::vector<int> codes;
    Value value;
    do {
      cs_stamp stamp = {};
      ASSERT_EQ(cs_begin(&stamp), 0);
      value = make_what(what);
      codes.push_back(cs_tagged_set(&tagged, &stamp, value.data(), value.size()));
    } while (codes.back() == CS_E_STALE && codes.size() < 3);
    expect_reached();
    EXPECT_EQ(cs_tagged_use(&tagged, value.data(), value.size()), 0);
    if (clones.number() > 0) {
      EXPECT_THAT(codes, ::testing::ElementsAre(CS_E_STALE, 0));
      clones.finish({value});
    }
    EXPECT_THAT(codes, ::testing::ElementsAre(0));
    std::vector<Value> values = flat(clones.collect());
    values.push_back(value);
    EXPECT_EQ(values.size(), 5u);
    EXPECT_EQ(count_repeated(values), 0u);
  }
}

TEST_F(IdentifierStopPointTest, GenerationThatMovesAtEveryTryIsAnError) {
  for (const What what : every_kind()) {
    if (!is_identifier(what)) continue;
    run_clones(1, [&](int) {
      static std::uint64_t moves;
      moves = 50;
      core::seams_for_testing.stop = [](StopPoint point) {
        if (point != StopPoint::kAfterIdentifier) return;
        ++moves;
        write_page_as_agent({.generation = moves, .reseed_epoch = moves, .diversifier = 3});
      };
      Value value;
      value.fill(0xee);
      if (!what) {
        std::uint64_t id = 1;
        EXPECT_EQ(cs_snowflake_try(snowflake_.get(), &id), CS_E_UNSTABLE);
        EXPECT_EQ(id, 0u);
      } else {
        EXPECT_EQ(make_code(*what, value), CS_E_UNSTABLE);
        EXPECT_EQ(value, Value{});
      }
      core::seams_for_testing.stop = nullptr;
      make_what(what);
      return std::vector<Value>{};
    });
  }
}

}  // namespace
}  // namespace clonesafe::laboratory
