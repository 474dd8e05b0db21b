// Every way to make a clone gives it a generation of its own before its first instruction.
#include <signal.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <set>

#include "tests/lab/bare/bare_vm.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;

// Restores, and checks that each clone sends its own generation and nothing else. Returns these.
void expect_new_generations(const Restored& restored, const fs::path& run_dir,
                            std::set<std::string>& seen) {
  for (int clone = 1; clone <= static_cast<int>(restored.reports().size()); ++clone) {
    const std::string own = generation(restored, clone);
    EXPECT_TRUE(seen.insert(own).second) << "a second machine of generation " << own;
    expect_sends_only(sent_by(run_dir, clone), own);
  }
}

// A number that `clonevm status` tells, as restore and fork report it: with leading zeros.
std::string status_of(const fs::path& api, const char* member) {
  const auto outcome = run({Lab::get().clonevm, "status", "--api", api.string()}, Seconds(60));
  if (!outcome || outcome->status != 0) {
    ADD_FAILURE() << "no status: " << (outcome ? outcome->output : outcome.error().message());
    return "";
  }
  const std::string digits(boost::json::parse(outcome->output).as_object().at(member).as_string());
  return std::string(16 - std::min<std::size_t>(16, digits.size()), '0') + digits;
}

TEST_F(BareTest, ClonesReadTheirGenerationWithTheFirstInstruction) {
  auto vm = BareVm::start(path("source"));
  ASSERT_TRUE(vm);
  std::set<std::string> seen = {status_of(vm->api(), "generation")};
  snapshot(vm->api(), path("snapshot"), {"--stop"});
  auto clones = restore(path("snapshot"), "clones", 3);
  ASSERT_TRUE(clones);
  expect_new_generations(*clones, path("clones"), seen);
  EXPECT_EQ(seen.size(), 4u);
}

// The twin of all others here: what is no clone goes on sending the generation that it had, so a
// restore that changed nothing would be seen.
TEST_F(BareTest, SourceThatGoesOnKeepsItsGeneration) {
  auto vm = BareVm::start(path("source"));
  ASSERT_TRUE(vm);
  const std::string before = status_of(vm->api(), "generation");
  snapshot(vm->api(), path("snapshot"), {"--resume"});
  const auto sent = fs::file_size(vm->sent());
  ASSERT_TRUE(eventually(Seconds(60), [&] { return fs::file_size(vm->sent()) > sent + 8; }));
  EXPECT_EQ(status_of(vm->api(), "generation"), before);
  expect_sends_only(vm->sent(), before);
}

TEST_F(BareTest, CloneOfACloneOfACloneIsNewEachTime) {
  auto vm = BareVm::start(path("source"));
  ASSERT_TRUE(vm);
  std::set<std::string> seen = {status_of(vm->api(), "generation")};
  fs::path api = vm->api();
  std::vector<std::unique_ptr<Restored>> kept;
  for (const std::string level : {"1", "2", "3"}) {
    snapshot(api, path("snapshot" + level), {"--resume"});
    kept.push_back(restore(path("snapshot" + level), "clones" + level, 2));
    ASSERT_TRUE(kept.back());
    expect_new_generations(*kept.back(), path("clones" + level), seen);
    api = path("clones" + level) / "1" / "api.sock";
  }
  EXPECT_EQ(seen.size(), 7u);
}

TEST_F(BareTest, ForkedClonesAreNewAndTheirSourceGoesOnAsItWas) {
  auto vm = BareVm::start(path("source"));
  ASSERT_TRUE(vm);
  const std::string before = status_of(vm->api(), "generation");
  std::set<std::string> seen = {before};
  auto forked = Restored::fork(vm->api(), path("clones"), 3, {"--wait", "running"});
  ASSERT_TRUE(forked);
  expect_new_generations(*forked, path("clones"), seen);
  const auto metrics =
      run({Lab::get().clonevm, "metrics", "--api", vm->api().string()}, Seconds(60));
  ASSERT_TRUE(metrics);
  EXPECT_NE(metrics->output.find("clonevm_forks_total 3\n"), std::string::npos) << metrics->output;
  const auto sent = fs::file_size(vm->sent());
  ASSERT_TRUE(eventually(Seconds(60), [&] { return fs::file_size(vm->sent()) > sent + 8; }));
  expect_sends_only(vm->sent(), before);
}

TEST_F(BareTest, CloneOfAnIncrementalSnapshotIsNew) {
  auto vm = BareVm::start(path("source"), {"--track-dirty"});
  ASSERT_TRUE(vm);
  std::set<std::string> seen = {status_of(vm->api(), "generation")};
  snapshot(vm->api(), path("whole"), {"--resume"});
  snapshot(vm->api(), path("changes"), {"--diff", path("whole").string(), "--stop"});
  auto clones = restore(path("changes"), "clones", 2);
  ASSERT_TRUE(clones);
  expect_new_generations(*clones, path("clones"), seen);
}

// The same machine elsewhere: it keeps its generation, and its generators are told to reseed. Only
// one can be made of a snapshot, or there would be two of one generation.
TEST_F(BareTest, MovedMachineKeepsItsGenerationAndUsesTheSnapshotUp) {
  auto vm = BareVm::start(path("source"));
  ASSERT_TRUE(vm);
  const std::string before = status_of(vm->api(), "generation");
  const std::string epoch = status_of(vm->api(), "reseed_epoch");
  snapshot(vm->api(), path("snapshot"), {"--stop"});
  auto moved = restore(path("snapshot"), "moved", 1, {"--move"});
  ASSERT_TRUE(moved);
  EXPECT_EQ(generation(*moved, 1), before);
  expect_sends_only(sent_by(path("moved"), 1), before);
  EXPECT_NE(status_of(path("moved/1/api.sock"), "reseed_epoch"), epoch);

  for (const std::vector<std::string>& option : {std::vector<std::string>{"--move"}, {}}) {
    std::vector<std::string> command = {Lab::get().clonevm, "restore", path("snapshot").string(),
                                        "--run-dir", path("again").string()};
    command.insert(command.end(), option.begin(), option.end());
    const auto again = run(command, Seconds(60));
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_GE(again->status, 1) << again->output;
    EXPECT_LE(again->status, 125) << again->output;
    EXPECT_EQ(std::ranges::count(again->output, '\n'), 1) << again->output;
  }
}

// Two at once: one of them gets it.
TEST_F(BareTest, OfTwoMovesAtTheSameTimeOneIsRefused) {
  auto vm = BareVm::start(path("source"));
  ASSERT_TRUE(vm);
  snapshot(vm->api(), path("snapshot"), {"--stop"});
  const std::vector<std::string> options = {"--move", "--wait", "running"};
  auto one = Restored::start(path("snapshot"), path("one"), 1, options, {});
  auto two = Restored::start(path("snapshot"), path("two"), 1, options, {});
  ASSERT_TRUE(one && two);
  const auto first = one->process().read_line(Seconds(60));
  const auto second = two->process().read_line(Seconds(60));
  const auto runs = [](const Result<std::string>& line) {
    return line && line->starts_with("{\"clone\":1");
  };
  EXPECT_NE(runs(first), runs(second))
      << (first ? *first : "nothing") << "; " << (second ? *second : "nothing");
  for (auto* each : {one.get(), two.get()}) each->process().signal(SIGTERM);
}

}  // namespace
}  // namespace clonesafe::lab
