// Worker ids that the operator gives a machine in its document, and that its processes share.
#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "libclonesafe/ids/worker_range.h"
#include "tests/unit/ids/ids_laboratory.h"

namespace clonesafe::laboratory {
namespace {

using ::testing::ElementsAre;

class MetadataLessorTest : public IdsLaboratory {
 protected:
  MetadataLessorTest() : workers_(folder_ + "/workers"), document_(folder_ + "/metadata") {
    std::filesystem::create_directory(workers_);
    publish({.generation = 1, .state = CLONESAFE_STATE_SAFE});
    restart();
  }
  ~MetadataLessorTest() override {
    std::filesystem::remove_all(workers_);
    std::filesystem::remove_all(document_);
  }

  void give(const std::string& text) const { std::ofstream(document_) << text; }
  SnowflakePointer open() const {
    cs_lessor lessor = {};
    EXPECT_EQ(cs_metadata_lessor(document_.c_str(), workers_.c_str(), &lessor), 0);
    return make_snowflake(lessor, &config_);
  }
  std::int64_t worker_of(const SnowflakePointer& snowflake) const {
    return next_worker(snowflake, config_);
  }

  const cs_snowflake_config config_ = {
      .epoch_ms = CS_SNOWFLAKE_EPOCH_MS, .time_bits = 41, .worker_bits = 10, .sequence_bits = 12};
  const std::string workers_;
  const std::string document_;
};

TEST_F(MetadataLessorTest, ProcessesShareTheRangeAndNoMore) {
  give("clonesafe_worker_ids = 128-129\n");
  const auto one = open(), two = open(), three = open();
  set_clock(kSomeTimeNs + 1'000'000);
  (void)worker_of(one);
  (void)worker_of(two);
  set_clock(kSomeTimeNs + 2'000'000);
  EXPECT_THAT((std::set<std::int64_t>{worker_of(one), worker_of(two)}), ElementsAre(128, 129));
  EXPECT_EQ(worker_of(three), CS_E_NO_LEASE);
}

// The source's range goes with its document; siblings are given others, or none.
TEST_F(MetadataLessorTest, ClonesHaveWhatTheyAreGivenAndOnlyWhenTheAgentHasTakenIt) {
  // One that nobody holds is left: it is not the lock that keeps a clone from it.
  give("clonesafe_worker_ids = 5-6");
  const auto own = open();
  (void)worker_of(own);
  const auto all = run_clones(3, [&](int clone) {
    Publication publication = restored_clone(clone);
    publication.state = CLONESAFE_STATE_REPAIRING;
    write_page_as_vmm(publication);
    // The source's document still lies there.
    EXPECT_EQ(worker_of(own), CS_E_NO_LEASE);
    EXPECT_EQ(worker_of(open()), CS_E_NO_LEASE);
    const std::string mine = document_ + std::to_string(clone);
    if (clone < 3) std::ofstream(mine) << "clonesafe_worker_ids = " << 10 * clone;
    publication.state = CLONESAFE_STATE_SAFE;
    write_page_as_agent(publication);
    cs_lessor lessor = {};
    EXPECT_EQ(cs_metadata_lessor(mine.c_str(), workers_.c_str(), &lessor), 0);
    const auto snowflake = make_snowflake(lessor, &config_);
    (void)worker_of(snowflake);
    set_clock(kSomeTimeNs + 1'000'000);
    const std::int64_t worker = worker_of(snowflake);
    std::filesystem::remove(mine);
    return std::vector<Value>{value_of(static_cast<std::uint64_t>(worker))};
  });
  std::vector<std::int64_t> workers(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::memcpy(&workers[i], all[i].at(0).data(), sizeof(workers[i]));
  }
  EXPECT_THAT(workers, ElementsAre(10, 20, CS_E_NO_LEASE));
}

TEST_F(MetadataLessorTest, NoLeaseWithoutADocumentOrWithoutAnAgent) {
  EXPECT_EQ(worker_of(open()), CS_E_NO_LEASE);
  give("region = north\n");
  EXPECT_EQ(worker_of(open()), CS_E_NO_LEASE);
  give("clonesafe_worker_ids = 5");
  publish({.generation = 1, .state = CLONESAFE_STATE_DEGRADED});
  EXPECT_EQ(worker_of(open()), CS_E_NO_LEASE);
  remove_page();
  restart();
  EXPECT_EQ(worker_of(open()), CS_E_NO_LEASE);
}

// What the id's last holder used, on another machine, is not known: this millisecond is left out.
TEST_F(MetadataLessorTest, BeginsInTheNextMillisecond) {
  give("clonesafe_worker_ids = 5");
  const auto snowflake = open();
  EXPECT_EQ(worker_of(snowflake), CS_E_CLOCK);
  set_clock(kSomeTimeNs + 1'000'000);
  EXPECT_EQ(worker_of(snowflake), 5);
}

TEST_F(MetadataLessorTest, WhatCannotBeReadOrDoesNotFitIsAnError) {
  for (const std::string text :
       {"clonesafe_worker_ids = 1-1024", "clonesafe_worker_ids = 2-1", "clonesafe_worker_ids: x",
        "clonesafe_worker_ids=1\nclonesafe_worker_ids=2"}) {
    give(text);
    EXPECT_EQ(worker_of(open()), CS_E_INVALID) << text;
  }
  give("clonesafe_worker_ids = 1-10" + std::string(70000, ' '));
  EXPECT_EQ(worker_of(open()), CS_E_INVALID);
  cs_lessor lessor = {};
  EXPECT_EQ(cs_metadata_lessor(nullptr, nullptr, &lessor), CS_E_INVALID);
  EXPECT_EQ(cs_metadata_lessor(nullptr, (workers_ + "/no").c_str(), &lessor), CS_E_INVALID);
  EXPECT_EQ(cs_metadata_lessor(nullptr, workers_.c_str(), nullptr), CS_E_INVALID);
}

TEST(WorkerRangeTest, StandsInEveryUsualFormat) {
  using ids::RangeCondition;
  const auto read = [](std::string_view text) {
    ids::WorkerRange range;
    EXPECT_EQ(find_worker_range(text, range), RangeCondition::kFound) << text;
    return std::vector<std::uint64_t>{range.first, range.last};
  };
  EXPECT_THAT(read(R"({"a": 1, "clonesafe_worker_ids": "128-191"})"), ElementsAre(128, 191));
  EXPECT_THAT(read(R"({"clonesafe_worker_ids":7})"), ElementsAre(7, 7));
  EXPECT_THAT(read("clonesafe_worker_ids: 3 - 4 # mine\n"), ElementsAre(3, 4));
  EXPECT_THAT(read("clonesafe_worker_ids = '0-0'"), ElementsAre(0, 0));
  EXPECT_THAT(read("export A=1\nexport clonesafe_worker_ids=18446744073709551615"),
              ElementsAre(~std::uint64_t{0}, ~std::uint64_t{0}));
}

TEST(WorkerRangeTest, AnythingElseIsAbsentOrMalformed) {
  using ids::RangeCondition;
  ids::WorkerRange range;
  for (const char* text : {"", "clonesafe_worker_id = 1", "my_clonesafe_worker_ids = 1",
                           "clonesafe_worker_ids_old = 1", "Clonesafe_worker_ids = 1"}) {
    EXPECT_EQ(find_worker_range(text, range), RangeCondition::kAbsent) << text;
  }
  for (const char* text :
       {"clonesafe_worker_ids", "clonesafe_worker_ids = -1", "clonesafe_worker_ids = 1-",
        "clonesafe_worker_ids = 1-2-3", "clonesafe_worker_ids = 0x10", "clonesafe_worker_ids = 1.5",
        "clonesafe_worker_ids = 18446744073709551616", "clonesafe_worker_ids = [1]",
        "clonesafe_worker_ids = 1; clonesafe_worker_ids = 1"}) {
    EXPECT_EQ(find_worker_range(text, range), RangeCondition::kMalformed) << text;
  }
}

}  // namespace
}  // namespace clonesafe::laboratory
