// Several at once with one snapshot: who writes it, who restores it, who changes its files.
#include <algorithm>
#include <functional>
#include <future>
#include <set>

#include "tests/lab/bare/bare_vm.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;

Result<Outcome> write_snapshot(const fs::path& api, const fs::path& out) {
  return run(
      {Lab::get().clonevm, "snapshot", "--api", api.string(), "--out", out.string(), "--resume"},
      Seconds(60));
}

void expect_verified(const fs::path& snapshot) {
  const auto verified = run({Lab::get().clonevm, "verify", snapshot.string()}, Seconds(60));
  ASSERT_TRUE(verified) << verified.error().message();
  EXPECT_EQ(verified->status, 0) << verified->output;
}

// Runs both at once; one is done, and of the other there is one line and nothing else.
void expect_one_of_two(const std::function<Result<Outcome>()>& first,
                       const std::function<Result<Outcome>()>& second) {
  auto beside = std::async(std::launch::async, second);
  const auto one = first();
  const auto other = beside.get();
  ASSERT_TRUE(one) << one.error().message();
  ASSERT_TRUE(other) << other.error().message();
  EXPECT_NE(one->status == 0, other->status == 0) << one->output << other->output;
  const Outcome& refused = one->status == 0 ? *other : *one;
  EXPECT_GE(refused.status, 1);
  EXPECT_LE(refused.status, 125);
  EXPECT_EQ(std::ranges::count(refused.output, '\n'), 1) << refused.output;
}

TEST_F(BareTest, OfTwoMachinesThatWriteOneSnapshotOneIsRefused) {
  auto one = BareVm::start(path("one"));
  auto other = BareVm::start(path("other"));
  ASSERT_TRUE(one && other);
  fs::create_directory(path("out"));
  expect_one_of_two([&] { return write_snapshot(one->api(), path("out") / "snapshot"); },
                    [&] { return write_snapshot(other->api(), path("out") / "snapshot"); });
  expect_verified(path("out") / "snapshot");
  EXPECT_EQ(names_in(path("out")), std::set<std::string>{"snapshot"});
}

TEST_F(BareTest, RestoresOfOneSnapshotAtTheSameTimeAreDistinct) {
  auto vm = BareVm::start(path("source"));
  ASSERT_TRUE(vm);
  snapshot(vm->api(), path("snapshot"), {"--stop"});
  const std::vector<std::string> options = {"--wait", "running"};
  auto one = Restored::start(path("snapshot"), path("one"), 2, options, {});
  auto other = Restored::start(path("snapshot"), path("other"), 2, options, {});
  ASSERT_TRUE(one && other);
  ASSERT_TRUE(one->await_reports(2) && other->await_reports(2));
  std::set<std::string> seen;
  for (const auto& [restored, folder] :
       {std::pair{one.get(), "one"}, std::pair{other.get(), "other"}}) {
    for (const int clone : {1, 2}) {
      const std::string own = generation(*restored, clone);
      EXPECT_TRUE(seen.insert(own).second) << "a second machine of generation " << own;
      expect_sends_only(sent_by(path(folder), clone), own);
    }
  }
}

// A clone has its memory from a sealed copy: what happens to the files is nothing to it, nor to a
// snapshot of it. Who restores them afterwards is refused.
TEST_F(BareTest, FilesThatChangeUnderARunningCloneAreNothingToIt) {
  auto vm = BareVm::start(path("source"));
  ASSERT_TRUE(vm);
  snapshot(vm->api(), path("snapshot"), {"--stop"});
  auto clone = restore(path("snapshot"), "clone", 1);
  ASSERT_TRUE(clone);

  const fs::path memory = path("snapshot") / "memory.img";
  const auto size = fs::file_size(memory);
  fs::resize_file(memory, 0);
  fs::resize_file(memory, size);
  fs::resize_file(path("snapshot") / "state.csn", 100);
  const auto sent = fs::file_size(sent_by(path("clone"), 1));
  ASSERT_TRUE(eventually(Seconds(60),
                         [&] { return fs::file_size(sent_by(path("clone"), 1)) > sent + 64; }));
  expect_sends_only(sent_by(path("clone"), 1), generation(*clone, 1));

  snapshot(path("clone/1/api.sock"), path("of-clone"), {"--resume"});
  expect_verified(path("of-clone"));
  auto grandchild = restore(path("of-clone"), "grandchild", 1);
  ASSERT_TRUE(grandchild);
  expect_sends_only(sent_by(path("grandchild"), 1), generation(*grandchild, 1));

  const auto again = run({Lab::get().clonevm, "restore", path("snapshot").string(), "--run-dir",
                          path("again").string()},
                         Seconds(60));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_GE(again->status, 1) << again->output;
  EXPECT_LE(again->status, 125) << again->output;
}

}  // namespace
}  // namespace clonesafe::lab
