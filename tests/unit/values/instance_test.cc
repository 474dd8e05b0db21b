// The names of a process in a generation.
#include "libclonesafe/values/instance.h"

#include <gmock/gmock.h>

#include <atomic>
#include <latch>
#include <thread>

#include "clonesafe/values.hpp"
#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {
namespace {

struct Names {
  Value id = {};
  std::uint64_t epoch = 0;
};

Names names() {
  Names names;
  names.id = instance_id().bytes();
  names.epoch = fencing_epoch();
  return names;
}

Value as_value(std::uint64_t number) {
  Value value = {};
  std::memcpy(value.data(), &number, sizeof(number));
  return value;
}

class InstanceTest : public Laboratory {
 protected:
  InstanceTest() {
    publish({});
    restart();
    values::forget_names_for_testing();
  }
};

TEST_F(InstanceTest, StaysUntilTheGenerationMovesAndEpochsGrow) {
  Names last = names();
  EXPECT_EQ(names().id, last.id);
  EXPECT_EQ(names().epoch, last.epoch);
  EXPECT_GT(last.epoch, 0u);
  EXPECT_EQ(last.id[6] >> 4, 4) << "a version 4 UUID";
  // The machine that was snapshotted.
  publish({.reseed_epoch = 9});
  EXPECT_EQ(names().id, last.id);
  EXPECT_EQ(names().epoch, last.epoch);
  for (std::uint64_t generation = 2; generation < 50; ++generation) {
    publish({.generation = generation, .reseed_epoch = generation});
    const Names now = names();
    EXPECT_NE(now.id, last.id);
    EXPECT_GT(now.epoch, last.epoch);
    EXPECT_LE(now.epoch, std::uint64_t{INT64_MAX});
    last = now;
  }
}

TEST_F(InstanceTest, DiffersInClonesOfOneSnapshot) {
  const Names source = names();
  std::vector<Value> ids = {source.id};
  std::vector<Value> epochs = {as_value(source.epoch)};
  for (const auto& one : run_clones(4, [&](int clone) {
         write_page_as_vmm({.generation = static_cast<std::uint64_t>(10 + clone),
                            .reseed_epoch = 10,
                            .diversifier = static_cast<std::uint8_t>(clone)});
         const Names own = names();
         EXPECT_GT(own.epoch, source.epoch);
         return std::vector<Value>{own.id, as_value(own.epoch)};
       })) {
    ids.push_back(one.at(0));
    epochs.push_back(one.at(1));
  }
  EXPECT_EQ(names().id, source.id);
  EXPECT_EQ(count_repeated(ids), 0u);
  EXPECT_EQ(count_repeated(epochs), 0u);
}

TEST_F(InstanceTest, DiffersInAChild) {
  core::seams_for_testing.detect_forks = true;
  core::seams_for_testing.freeze_local_inputs = false;
  restart();
  const Names parent = names();
  std::vector<Value> ids = {parent.id};
  for (const auto& one : run_clones(3, [&](int) {
         const Names own = names();
         EXPECT_GT(own.epoch, parent.epoch);
         return std::vector<Value>{own.id};
       }))
    ids.push_back(one.at(0));
  EXPECT_EQ(names().id, parent.id);
  EXPECT_EQ(names().epoch, parent.epoch);
  EXPECT_EQ(count_repeated(ids), 0u);
}

TEST_F(InstanceTest, AnEpochIsAboveTheOneThatWasKept) {
  const Names first = names();
  EXPECT_EQ(fencing_epoch(first.epoch - 1), first.epoch);
  const std::uint64_t raised = fencing_epoch(first.epoch + 1000);
  EXPECT_GT(raised, first.epoch + 1000);
  EXPECT_EQ(fencing_epoch(), raised);
  EXPECT_EQ(instance_id().bytes(), first.id);
  std::uint64_t epoch = 1;
  EXPECT_EQ(cs_fencing_epoch(INT64_MAX, &epoch), CS_E_INVALID);
  EXPECT_EQ(epoch, 0u);
  EXPECT_EQ(cs_fencing_epoch(0, nullptr), CS_E_INVALID);
  EXPECT_EQ(cs_instance_id(nullptr), CS_E_INVALID);
}

TEST_F(InstanceTest, IsOneForAllThreads) {
  std::latch together(8);
  std::array<Names, 8> seen;
  std::vector<std::thread> threads;
  for (Names& own : seen) {
    threads.emplace_back([&] {
      together.arrive_and_wait();
      own = names();
    });
  }
  for (auto& thread : threads) thread.join();
  for (const Names& own : seen) {
    EXPECT_EQ(own.id, seen[0].id);
    EXPECT_EQ(own.epoch, seen[0].epoch);
  }
}

// The snapshot falls between the draw and its publication.
TEST_F(InstanceTest, CloneInTheMiddleOfItsDraw) {
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
  const Names own = names();
  core::seams_for_testing.stop = nullptr;
  if (made.number() > 0) made.finish({own.id, as_value(own.epoch)});
  std::vector<Value> ids = {own.id};
  std::vector<Value> epochs = {as_value(own.epoch)};
  for (const auto& one : made.collect()) {
    ids.push_back(one.at(0));
    epochs.push_back(one.at(1));
  }
  EXPECT_EQ(ids.size(), 4u);
  EXPECT_EQ(count_repeated(ids), 0u);
  EXPECT_EQ(count_repeated(epochs), 0u);
}

TEST_F(InstanceTest, WithoutRandomBytesThereIsNoName) {
  core::seams_for_testing.kernel_random = [](void*, std::size_t) { return -1; };
  restart();
  Value id;
  id.fill(0xee);
  EXPECT_EQ(cs_instance_id(id.data()), CS_E_ENTROPY);
  EXPECT_EQ(id, Value{});
}

}  // namespace
}  // namespace clonesafe::laboratory
