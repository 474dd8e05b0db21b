#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/unit/ids/ids_laboratory.h"

namespace clonesafe::laboratory {
namespace {

class FileLessorTest : public IdsLaboratory {
 protected:
  FileLessorTest() : workers_(folder_ + "/workers") { std::filesystem::create_directory(workers_); }
  ~FileLessorTest() override { std::filesystem::remove_all(workers_); }

  SnowflakePointer open(unsigned flags = 0) const {
    cs_lessor lessor = {};
    EXPECT_EQ(cs_file_lessor(workers_.c_str(), flags, &lessor), 0);
    return make_snowflake(lessor, &config_);
  }
  std::int64_t worker_of(const SnowflakePointer& snowflake) const {
    return next_worker(snowflake, config_);
  }
  static int count_open_workers() {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
      count += target.find("/worker-") != std::string::npos;
    }
    return count;
  }
  void write_file(const std::string& name, const std::string& contents) const {
    std::ofstream(workers_ + "/" + name) << contents;
  }
  std::string read_file(const std::string& name) const {
    std::ifstream in(workers_ + "/" + name);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // Two workers.
  const cs_snowflake_config config_ = {
      .epoch_ms = CS_SNOWFLAKE_EPOCH_MS, .time_bits = 42, .worker_bits = 1, .sequence_bits = 20};
  const std::string workers_;
};

TEST_F(FileLessorTest, EachHolderHasAWorkerOfItsOwnAndGivesItBack) {
  auto first = open();
  auto second = open();
  const auto third = open();
  const std::int64_t one = worker_of(first);
  const std::int64_t other = worker_of(second);
  EXPECT_EQ(one + other, 1);
  EXPECT_EQ(worker_of(third), CS_E_NO_LEASE);
  // Also when nobody has used one for long.
  set_clock(kSomeTimeNs + 10 * kHourNs);
  EXPECT_EQ(worker_of(third), CS_E_NO_LEASE);
  EXPECT_EQ(worker_of(first), one);
  first.reset();
  // Its millisecond was used; in the next one it is free.
  EXPECT_EQ(worker_of(third), CS_E_NO_LEASE);
  set_clock(kSomeTimeNs + 10 * kHourNs + 1'000'000);
  EXPECT_EQ(worker_of(third), one);
}

TEST_F(FileLessorTest, DeadHoldersWorkerIsFreeWhenItCanNotHaveUsedTheTime) {
  const auto own = open();
  const std::int64_t worker = worker_of(own);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(worker_of(open()) == 1 - worker ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  const auto heir = open();
  EXPECT_EQ(worker_of(heir), CS_E_NO_LEASE);
  set_clock(kSomeTimeNs + 999'000'000);
  EXPECT_EQ(worker_of(heir), CS_E_NO_LEASE);
  set_clock(kSomeTimeNs + 1'001'000'000);
  EXPECT_EQ(worker_of(heir), 1 - worker);
}

TEST_F(FileLessorTest, ClockSetBackByAnHourHandsOutNoUsedWorker) {
  (void)worker_of(open());
  const auto held = open();
  const std::int64_t worker = worker_of(held);
  set_clock(kSomeTimeNs - kHourNs);
  const auto late = open();
  EXPECT_EQ(worker_of(late), CS_E_NO_LEASE);
  EXPECT_EQ(worker_of(held), worker);  // goes on where it was
}

TEST_F(FileLessorTest, ClonesGetNoLeaseAlsoInANewProgram) {
  const auto own = open();
  const std::int64_t worker = worker_of(own);
  run_clones(2, [&](int clone) {
    write_page_as_vmm(restored_clone(clone));
    EXPECT_EQ(worker_of(own), CS_E_NO_LEASE);
    EXPECT_EQ(worker_of(open()), CS_E_NO_LEASE);
    return std::vector<Value>{};
  });
  // The source still has its own, and its folder.
  EXPECT_EQ(worker_of(own), worker);
  EXPECT_EQ(worker_of(open()), 1 - worker);
}

TEST_F(FileLessorTest, ClonesThatShareTheFolderGetAnother) {
  const cs_snowflake_config wide = {.epoch_ms = CS_SNOWFLAKE_EPOCH_MS};
  cs_lessor lessor = {};
  ASSERT_EQ(cs_file_lessor(workers_.c_str(), CS_LESSOR_SHARED_FOLDER, &lessor), 0);
  const auto own = make_snowflake(lessor, &wide);
  const auto make_one = [&] {
    std::uint64_t id = 0;
    EXPECT_EQ(cs_snowflake_next(own.get(), 1000, &id), 0);
    return value_of(id);
  };
  std::vector<Value> values = {make_one()};
  for (const auto& one : run_clones(4, [&](int clone) {
         write_page_as_vmm(restored_clone(clone));
         std::vector<Value> made = {make_one(), make_one()};
         // To close the source's file would give back its lock.
         EXPECT_EQ(count_open_workers(), 2);
         return made;
       })) {
    values.insert(values.end(), one.begin(), one.end());
  }
  values.push_back(make_one());
  EXPECT_EQ(values.size(), 10u);
  EXPECT_EQ(count_repeated(values), 0u);
  EXPECT_FALSE(std::filesystem::exists(workers_ + "/generation"));
}

// An agent that starts after the program: the lease ends, and there is another.
TEST_F(FileLessorTest, PageThatAppearsIsNoClone) {
  remove_page();
  restart();
  const auto own = open();
  ASSERT_GE(worker_of(own), 0);
  publish({.generation = 9});
  for (int i = 1; i <= 3; ++i) {
    set_clock(kSomeTimeNs + i * 5'000'000'000);
    ASSERT_GE(worker_of(own), 0);
  }
  cs_stamp stamp = {};
  ASSERT_EQ(cs_generation(&stamp), 0);
  ASSERT_EQ(stamp.generation, 9u);
  EXPECT_GE(worker_of(open()), 0);
  publish({.generation = 10});
  set_clock(kSomeTimeNs + 60'000'000'000);
  EXPECT_EQ(worker_of(open()), CS_E_NO_LEASE);
}

TEST_F(FileLessorTest, VmclockAloneTellsToo) {
  remove_page();
  write_vmclock(5);
  restart();
  auto own = open();
  ASSERT_GE(worker_of(own), 0);
  write_vmclock(6);
  EXPECT_EQ(worker_of(own), CS_E_NO_LEASE);
}

TEST_F(FileLessorTest, ChildOfForkTakesAnotherAndParentStillGivesItsOwnBack) {
  core::seams_for_testing.detect_forks = true;
  restart();
  auto own = open();
  auto other = open();
  const std::int64_t worker = worker_of(own);
  ASSERT_EQ(worker_of(other), 1 - worker);
  int ends[2] = {};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Clones clones;
  if (clones.spawn(1) > 0) {
    ::close(ends[1]);
    char byte = 0;
    EXPECT_EQ(::read(ends[0], &byte, 1), 0);
    set_clock(kSomeTimeNs + 5'000'000);
    EXPECT_EQ(worker_of(own), 1 - worker);
    clones.finish({});
  }
  // The child has a copy of the locked file open.
  own.reset();
  set_clock(kSomeTimeNs + 1'000'000);
  const auto next = open();
  EXPECT_EQ(worker_of(next), worker);
  other.reset();
  ::close(ends[1]);
  clones.collect();
  ::close(ends[0]);
}

TEST_F(FileLessorTest, FolderMustExistAndNotBeEverybodys) {
  cs_lessor lessor = {};
  EXPECT_EQ(cs_file_lessor((workers_ + "/no").c_str(), 0, &lessor), CS_E_INVALID);
  EXPECT_EQ(lessor.acquire, nullptr);
  EXPECT_EQ(cs_file_lessor(nullptr, 0, &lessor), CS_E_INVALID);
  EXPECT_EQ(cs_file_lessor(workers_.c_str(), 2, &lessor), CS_E_INVALID);
  EXPECT_EQ(cs_file_lessor(workers_.c_str(), 0, nullptr), CS_E_INVALID);
  ASSERT_EQ(::chmod(workers_.c_str(), 01777), 0);
  EXPECT_EQ(cs_file_lessor(workers_.c_str(), 0, &lessor), CS_E_INVALID);
}

TEST_F(FileLessorTest, WritesToNothingButItsOwnFiles) {
  const std::string precious = "0000000000000001\n";  // as if it were one of them
  write_file("victim", precious);
  for (const bool hard : {false, true}) {
    for (const char* name : {"/worker-0", "/worker-1"}) {
      if (hard) {
        std::filesystem::create_hard_link(workers_ + "/victim", workers_ + name);
      } else {
        std::filesystem::create_symlink("victim", workers_ + name);
      }
    }
    EXPECT_EQ(worker_of(open()), CS_E_NO_LEASE);
    EXPECT_EQ(read_file("victim"), precious);
    std::filesystem::remove(workers_ + "/worker-0");
    std::filesystem::remove(workers_ + "/worker-1");
  }
}

TEST_F(FileLessorTest, FilesThatCanNotBeReadAreNotUsed) {
  for (const char* contents : {"x", "000000000000000g\n", "0000000000000001 ", "0000000000000001",
                               "0000000000000001\n\n", "000000000000000A\n"}) {
    write_file("worker-0", contents);
    write_file("worker-1", contents);
    EXPECT_EQ(worker_of(open()), CS_E_NO_LEASE) << contents;
  }
  write_file("worker-1", "0000000000000001\n");
  EXPECT_EQ(worker_of(open()), 1);
  write_file("generation", "?");
  set_clock(kSomeTimeNs + 10'000'000);
  EXPECT_EQ(worker_of(open()), CS_E_NO_LEASE);
}

TEST_F(FileLessorTest, CppSourceOverAFolder) {
  Snowflake source(workers_);
  EXPECT_TRUE(source.try_next());
  EXPECT_THROW(Snowflake(workers_ + "/no"), LibraryError);
  Snowflake::Config bad = Snowflake::default_config();
  bad.time_bits = 1;
  EXPECT_THROW(Snowflake(workers_, 0, bad), LibraryError);
}

}  // namespace
}  // namespace clonesafe::laboratory
