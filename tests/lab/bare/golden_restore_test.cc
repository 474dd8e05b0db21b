// Snapshots of earlier versions of the format still make clones, new ones.
#include <algorithm>
#include <cstdlib>
#include <set>
#include <string_view>

#include "tests/lab/bare/bare_vm.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;

TEST_F(BareTest, SnapshotsOfEveryFormatVersionRestore) {
  const char* folder = std::getenv("CLONESAFE_LAB_GOLDEN");  // NOLINT(concurrency-mt-unsafe)
  ASSERT_NE(folder, nullptr) << "the environment lacks CLONESAFE_LAB_GOLDEN";
  if (folder == std::string_view("other-cpu"))
    GTEST_SKIP() << "SKIPPED: CLONESAFE_LAB_GOLDEN_RESTORE is not 1 (this host may have another "
                    "CPU than they were made on)";
  std::set<std::string> seen;
  int restored = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().filename() != "state.csn") continue;
    const fs::path snapshot = entry.path().parent_path();
    SCOPED_TRACE(snapshot);
    const std::string run_dir = "clones" + std::to_string(++restored);
    auto clones = restore(snapshot, run_dir, 2);
    ASSERT_TRUE(clones);
    for (const int clone : {1, 2}) {
      EXPECT_TRUE(seen.insert(generation(*clones, clone)).second);
      expect_sends_only(sent_by(path(run_dir), clone), generation(*clones, clone));
    }
  }
  EXPECT_GE(restored, 3);
}

}  // namespace
}  // namespace clonesafe::lab
