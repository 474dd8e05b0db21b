#include <gmock/gmock.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tests/unit/snapshot/fixture.h"
#include "vmm_device/snapshot/chain.h"

// A writer that is killed, or finds the disk full, at each of its steps.
namespace clonesafe::snapshot {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

constexpr const char* kSteps[] = {"directory made", "memory made",        "chunk written",
                                  "memory synced",  "attached file made", "attached file synced",
                                  "state written",  "state synced",       "renamed"};
using Stop = std::function<Status(const char*)>;
using Work = std::function<Result<Written>(const Stop&)>;

class Crash : public SnapshotTest, public testing::WithParamInterface<const char*> {
 protected:
  // `base` is there before; `layer` over it.
  void SetUp() override {
    auto base = write(place("base"), guest_.request());
    ASSERT_TRUE(base);
    PageSet changed(34);
    changed.insert(3);
    guest_.low()[3 * SmallGuest::kPage] = std::byte{3};
    auto request = guest_.request();
    request.parent = base->digest;
    request.changed = &changed;
    request.files = {sparse_file("disk0.layer")};
    ASSERT_TRUE(write(place("layer"), request));
  }
  std::filesystem::path place(const std::string& name) const { return temporary_.path() / name; }

  Result<Written> write_whole(const Stop& stop) {
    auto request = guest_.request();
    request.files = {sparse_file("disk0.layer")};
    request.stop_for_testing = stop;
    return write(dir(), request);
  }
  Result<Written> merge_layer(const Stop& stop) {
    auto chain = open_chain(place("layer"));
    if (!chain) return fail(chain.error());
    return merge(*chain, dir(), {}, nullptr, stop);
  }

  void kill_at_step(const Work& work) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      (void)work([](const char* step) -> Status {
        if (std::string_view(step) == GetParam()) ::kill(::getpid(), SIGKILL);
        return {};
      });
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer never came to this step";

    // What was there is as it was; the new one is whole or not there.
    EXPECT_TRUE(verify(place("base")));
    EXPECT_TRUE(verify_chain(place("layer")));
    const bool whole = std::string_view(GetParam()) == "renamed";
    EXPECT_EQ(std::filesystem::exists(dir()), whole);
    EXPECT_EQ(verify(dir()).has_value(), whole);
    std::filesystem::remove_all(dir());
    // And the next writer finds no obstacle and leaves nothing of the dead one.
    auto again = work({});
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_TRUE(verify(dir()));
    EXPECT_THAT(entries(), UnorderedElementsAre("base", "layer", "snapshot"));
  }

  void fill_disk_at_step(const Work& work) {
    bool there = false;
    auto written = work([&](const char* step) -> Status {
      if (std::string_view(step) != GetParam()) return {};
      there = true;
      return fail_errno(step, ENOSPC);
    });
    ASSERT_TRUE(there);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().error_number(), ENOSPC);
    EXPECT_THAT(entries(), UnorderedElementsAre("base", "layer"));
    EXPECT_TRUE(verify_chain(place("layer")));
  }
};

TEST_P(Crash, OfASnapshotsWriter) {
  kill_at_step([this](const Stop& stop) { return write_whole(stop); });
}
TEST_P(Crash, OfAMerge) {
  kill_at_step([this](const Stop& stop) { return merge_layer(stop); });
}
TEST_P(Crash, FullDiskUnderASnapshot) {
  fill_disk_at_step([this](const Stop& stop) { return write_whole(stop); });
}
TEST_P(Crash, FullDiskUnderAMerge) {
  fill_disk_at_step([this](const Stop& stop) { return merge_layer(stop); });
}

INSTANTIATE_TEST_SUITE_P(AtStep, Crash, testing::ValuesIn(kSteps), [](const auto& test) {
  std::string name = test.param;
  std::erase(name, ' ');
  return name;
});

using Writers = SnapshotTest;

// A second writer of the same name takes nothing away from the first, and one of them wins.
TEST_F(Writers, AtTheSameTimeDoNotDisturbEachOther) {
  auto request = guest_.request();
  bool second = false;
  request.stop_for_testing = [&](const char* step) -> Status {
    if (std::string_view(step) == "memory synced")
      second = write(dir(), guest_.request()).has_value();
    return {};
  };
  auto first = write(dir(), request);
  EXPECT_TRUE(second);
  ASSERT_FALSE(first);
  EXPECT_THAT(first.error().message(), testing::HasSubstr("already exists"));
  EXPECT_TRUE(verify(dir()));
  EXPECT_THAT(entries(), ElementsAre("snapshot"));
}

// What only looks like a leftover is not ours to take.
TEST_F(Writers, LeaveDirectoriesOfOthersAlone) {
  const auto keep = {temporary_.path() / "snapshot.partial-12",
                     temporary_.path() / "other.partial-0123456789abcdef"};
  for (const auto& path : keep) std::filesystem::create_directory(path);
  write_small();
  for (const auto& path : keep) EXPECT_TRUE(std::filesystem::exists(path)) << path;
}

}  // namespace
}  // namespace clonesafe::snapshot
