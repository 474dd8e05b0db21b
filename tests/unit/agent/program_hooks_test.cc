// Hooks' programs through the helper process, both as they are.
#include "guest_agent/hooks/program_hooks.h"

#include <sys/wait.h>

#include "guest_agent/helper/helper.h"
#include "tests/unit/agent/loop_fixture.h"

namespace clonesafe::agent {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

class ProgramHooksTest : public LoopTest {
 protected:
  ProgramHooksTest() {
    fs::create_directory(folder_ / "after-restore");
    auto socket = start_helper(folder_ / "");
    EXPECT_TRUE(socket) << socket.error().message();
    helper_ = std::make_unique<HelperClient>(io_, std::move(*socket));
  }
  ~ProgramHooksTest() override {
    helper_.reset();
    while (::wait(nullptr) > 0) {
    }
  }
  void add(const std::string& name, const std::string& script) {
    const std::string path = folder_ / "after-restore" + "/" + name;
    std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
    fs::permissions(path, fs::perms(0755));
  }
  ProgramHooks hooks(milliseconds each = std::chrono::minutes(1),
                     milliseconds all = std::chrono::minutes(2)) {
    return {*helper_, {.folder = folder_ / "", .each = each, .all = all}};
  }
  HookEvent event(const std::string& cause = "clone") {
    return {.phase = HookPhase::kAfterRestore,
            .cause = cause,
            .restore = {.restore_id = id(7), .generation = 0x2a}};
  }
  std::vector<RepairResult> run(ProgramHooks& hooks) {
    std::vector<RepairResult> results;
    bool done = false;
    hooks.run(event(), [&](std::vector<RepairResult> given) {
      results = std::move(given);
      done = true;
    });
    run_until([&] { return done; });
    return results;
  }
  std::string place(const std::string& name) { return folder_ / name; }

  std::unique_ptr<HelperClient> helper_;
};

TEST_F(ProgramHooksTest, AllRunInOrderWhateverComesOfOne) {
  add("10-a", "echo a >>" + place("ran"));
  add("20-b", "echo b >>" + place("ran") + "; echo 'no way' >&2; exit 4");
  add("30-c",
      "echo c $CLONESAFE_PHASE $CLONESAFE_CAUSE $CLONESAFE_GENERATION $CLONESAFE_RESTORE_ID >>" +
          place("ran"));
  auto all = hooks();
  EXPECT_TRUE(all.any(event()));
  const auto results = run(all);
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0].outcome, Outcome::kOk);
  EXPECT_EQ(results[1].name, "hook 20-b");
  EXPECT_EQ(results[1].outcome, Outcome::kFailed);
  EXPECT_EQ(results[1].detail, "exit code 4: no way");
  EXPECT_EQ(results[2].outcome, Outcome::kOk);
  EXPECT_EQ(folder_.read("ran"),
            "a\nb\nc after-restore clone 2a 07070707070707070707070707070707\n");
}

TEST_F(ProgramHooksTest, WithoutProgramsThereIsNothingToRun) {
  auto none = hooks();
  EXPECT_FALSE(none.any(event()));
  EXPECT_TRUE(run(none).empty());
}

TEST_F(ProgramHooksTest, FolderThatOthersMayWriteIsAFailureAndNothingRuns) {
  add("10-a", "echo a >>" + place("ran"));
  fs::permissions(folder_ / "after-restore", fs::perms(0777));
  auto all = hooks();
  EXPECT_TRUE(all.any(event()));
  const auto results = run(all);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].outcome, Outcome::kFailed);
  EXPECT_FALSE(fs::exists(place("ran")));
}

TEST_F(ProgramHooksTest, DeadlinesBoundEachAndAll) {
  add("10-a", "sleep 1000");
  add("20-b", "sleep 1000");
  add("30-c", "echo c >>" + place("ran"));
  auto all = hooks(milliseconds(200), milliseconds(300));
  const auto results = run(all);
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0].detail, "killed: its deadline is over");
  EXPECT_EQ(results[1].detail, "killed: its deadline is over");
  EXPECT_EQ(results[2].detail, "not started: the time for all hooks is over");
  EXPECT_FALSE(fs::exists(place("ran")));
}

// A restore in the middle: what runs is killed, its end is nobody's, and the next run is whole.
TEST_F(ProgramHooksTest, CancelledRunIsKilledAndTheNextOneIsWhole) {
  add("10-a", "echo $$ >" + place("pid") + "; [ -e " + place("go") + " ] || exec sleep 1000");
  add("20-b", "echo b >>" + place("ran"));
  auto all = hooks();
  bool told = false;
  all.run(event(), [&](const auto&) { told = true; });
  run_until([&] { return fs::exists(place("pid")) && fs::file_size(place("pid")) > 0; });
  const std::string pid(trim(folder_.read("pid")));
  all.cancel();
  folder_.write("go", "");
  const auto results = run(all);
  EXPECT_FALSE(told);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].outcome, Outcome::kOk) << results[0].detail;
  EXPECT_EQ(results[1].outcome, Outcome::kOk);
  EXPECT_FALSE(fs::exists("/proc/" + pid));
  EXPECT_EQ(folder_.read("ran"), "b\n");
}

TEST_F(ProgramHooksTest, HelperGivesMemoryBackToo) {
  std::vector<RepairResult> results;
  bool done = false;
  helper_->run(TrimMemory{.drop_caches = false, .reclaim = {}}, [&](auto given) {
    results = std::move(given);
    done = true;
  });
  run_until([&] { return done; });
  EXPECT_TRUE(results.empty());
}

TEST_F(ProgramHooksTest, HelperThatDiedIsAFailure) {
  add("10-a", "kill -9 $PPID");
  auto all = hooks();
  for (int turn = 0; turn < 2; ++turn) {
    const auto results = run(all);
    ASSERT_EQ(results.size(), 1U);
    EXPECT_EQ(results[0].outcome, Outcome::kFailed);
    EXPECT_EQ(results[0].detail, "the agent's helper process is gone");
  }
}

}  // namespace
}  // namespace clonesafe::agent
