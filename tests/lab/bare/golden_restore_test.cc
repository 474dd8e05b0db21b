// Snapshots of earlier versions of the format still make clones, new ones, where the CPU is theirs.
#include <gmock/gmock.h>

#include <boost/json/parse.hpp>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "tests/lab/bare/bare_vm.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;

// The clones' generations, in any order; none for a clone that this host refuses.
std::map<int, std::string> generations(Restored& restored, int count) {
  std::map<int, std::string> found;
  for (int i = 0; i < count; ++i) {
    const auto line = restored.process().read_line(Seconds(60));
    if (!line) {
      ADD_FAILURE() << line.error().message();
      return found;
    }
    const auto report = boost::json::parse(*line).as_object();
    const auto& generation = report.at("generation");
    if (!generation.is_null())
      found[report.at("clone").to_number<int>()] = std::string(generation.as_string());
  }
  return found;
}

// They are of the emulated host's CPU and TSC frequency. A host that has others must refuse them,
// and say which.
void expect_refused_by_name(const fs::path& snapshot, const std::vector<std::string>& given,
                            const fs::path& run_dir) {
  std::vector<std::string> command = {Lab::get().clonevm, "restore", snapshot.string(), "--run-dir",
                                      run_dir.string()};
  command.insert(command.end(), given.begin(), given.end());
  const auto refused = run(command, Seconds(60));
  ASSERT_TRUE(refused) << refused.error().message();
  EXPECT_GE(refused->status, 1);
  EXPECT_LE(refused->status, 125);
  EXPECT_THAT(refused->output, testing::AnyOf(testing::HasSubstr("kHz"),
                                              testing::HasSubstr("lacks what the snapshot uses"),
                                              testing::HasSubstr("AuthenticAMD")))
      << "refused for another reason than the CPU or its frequency";
}

TEST_F(BareTest, SnapshotsOfEveryFormatVersionRestore) {
  const char* folder = std::getenv("CLONESAFE_LAB_GOLDEN");  // NOLINT(concurrency-mt-unsafe)
  ASSERT_NE(folder, nullptr) << "the environment lacks CLONESAFE_LAB_GOLDEN";
  std::set<std::string> seen;
  int snapshots = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().filename() != "state.csn") continue;
    const fs::path snapshot = entry.path().parent_path();
    SCOPED_TRACE(snapshot);
    const fs::path run_dir = path("clones" + std::to_string(++snapshots));
    // What an archive has beside a snapshot that needs it.
    std::vector<std::string> given;
    if (const fs::path file = snapshot.string() + ".key"; fs::exists(file))
      given = {"--key", file.string()};
    if (const fs::path file = snapshot.string() + ".disk"; fs::exists(file))
      given = {"--disk", "0=" + file.string()};
    if (const fs::path file = snapshot.string() + ".net"; fs::exists(file)) {
      std::string net;
      std::ifstream(file) >> net;
      given = {"--net", net};
    }
    std::vector<std::string> options = {"--wait", "running"};
    options.insert(options.end(), given.begin(), given.end());
    auto clones = Restored::start(snapshot, run_dir, 2, options, {});
    ASSERT_TRUE(clones);
    const auto made = generations(*clones, 2);
    ASSERT_FALSE(HasFailure());
    std::printf("%s: %zu clones\n", snapshot.c_str(), made.size());
    if (made.size() != 2) expect_refused_by_name(snapshot, given, run_dir.string() + ".again");
    for (const auto& [clone, generation] : made) {
      EXPECT_TRUE(seen.insert(generation).second);
      expect_sends_only(sent_by(run_dir, clone), generation);
    }
  }
  EXPECT_GE(snapshots, 7);
}

}  // namespace
}  // namespace clonesafe::lab
