// tests/lab/bare-snapshot.sh makes a snapshot that `clonevm verify` accepts, and that neither
// verify nor restore takes once a byte of it is another.
#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "tests/lab/bare/bare_vm.h"
#include "tests/lab/nested/snapshot_edit.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;

bool is_memory(const fs::path& file) {
  return file.extension() == ".img";
}

// CLONESAFE_LAB_EVERY=1 tries every byte of the state, and one of each page of memory, each time
// further into the page; by default a sample, which takes a minute on an emulated host.
std::uintmax_t stride(const fs::path& file, std::uintmax_t samples) {
  const char* every = std::getenv("CLONESAFE_LAB_EVERY");  // NOLINT(concurrency-mt-unsafe)
  if (every == nullptr) return fs::file_size(file) / samples + 1;
  return std::strtoull(every, nullptr, 10) * (is_memory(file) ? 4097 : 1);
}

class DamageTest : public BareTest {
 protected:
  void SetUp() override {
    const char* script =
        std::getenv("CLONESAFE_LAB_BARE_SNAPSHOT");  // NOLINT(concurrency-mt-unsafe)
    ASSERT_NE(script, nullptr) << "the environment lacks CLONESAFE_LAB_BARE_SNAPSHOT";
    const auto made = run({script, path("snapshot").string()}, Seconds(120));
    ASSERT_TRUE(made) << made.error().message();
    ASSERT_EQ(made->status, 0) << made->output;
  }
  Outcome clonevm(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), Lab::get().clonevm);
    auto outcome = run(arguments, Seconds(60));
    if (!outcome) ADD_FAILURE() << outcome.error().message();
    return outcome ? *outcome : Outcome{};
  }
  void expect_refused(const std::string& what) const {
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"verify", path("snapshot").string()},
          {"restore", path("snapshot").string(), "--run-dir", path("run").string(), "--wait",
           "running"}}) {
      SCOPED_TRACE(command[0] + " of a snapshot with " + what);
      expect_refusal(clonevm(command));
    }
  }
  void expect_refusal(const Outcome& outcome) const {
    EXPECT_GE(outcome.status, 1) << outcome.output;
    EXPECT_LE(outcome.status, 125) << outcome.output;
    EXPECT_EQ(std::ranges::count(outcome.output, '\n'), 1) << outcome.output;
    fs::remove_all(path("run"));
  }
};

// Changes a byte of a file, and changes it back.
class Flipped {
 public:
  Flipped(fs::path file, std::uintmax_t at) : file_(std::move(file)), at_(at) { flip(); }
  ~Flipped() { flip(); }
  Flipped(const Flipped&) = delete;
  Flipped& operator=(const Flipped&) = delete;

 private:
  void flip() const {
    std::fstream stream(file_, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(at_));
    const int byte = stream.get();
    stream.seekp(static_cast<std::streamoff>(at_));
    stream.put(static_cast<char>(byte ^ 0x10));
    EXPECT_TRUE(stream.flush()) << file_ << " at " << at_;
  }
  fs::path file_;
  std::uintmax_t at_;
};

std::vector<fs::path> files_of(const fs::path& snapshot) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(snapshot)) files.push_back(entry.path());
  return files;
}

TEST_F(DamageTest, WholeSnapshotIsAcceptedAndRestores) {
  const Outcome outcome = clonevm({"verify", path("snapshot").string()});
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  auto clones = restore(path("snapshot"), "clones", 1);
  ASSERT_TRUE(clones);
  expect_sends_only(sent_by(path("clones"), 1), generation(*clones, 1));
}

TEST_F(DamageTest, AnyByteOfAnyFileFlippedIsRefused) {
  ASSERT_FALSE(files_of(path("snapshot")).empty());
  for (const fs::path& file : files_of(path("snapshot"))) {
    const auto size = fs::file_size(file);
    const auto step = stride(file, is_memory(file) ? 12 : 60);
    for (std::uintmax_t at = 0; at < size; at += step) {
      const Flipped flipped(file, at);
      expect_refused(file.filename().string() + " flipped at " + std::to_string(at));
      if (HasFailure()) return;
    }
  }
  EXPECT_EQ(clonevm({"verify", path("snapshot").string()}).status, 0) << "the test left damage";
}

// By restore; to verify, which knows the format and not the machine, two vCPUs are as good as one.
TEST_F(DamageTest, AnySectionTwiceIsRefused) {
  const std::string whole = state_of(path("snapshot"));
  std::size_t sections = 0;
  while (const auto name = repeat_section(path("snapshot"), sections)) {
    SCOPED_TRACE(*name);
    // The clone's report, which is its own line, aside.
    const auto refused = run({"sh", "-c", R"("$0" restore "$1" --run-dir "$2" 2>&1 >"$2.report")",
                              Lab::get().clonevm, path("snapshot").string(), path("run").string()},
                             Seconds(60));
    ASSERT_TRUE(refused) << refused.error().message();
    expect_refusal(*refused);
    set_state(path("snapshot"), whole);
    ++sections;
  }
  EXPECT_GE(sections, 6U);
}

TEST_F(DamageTest, AnyFileCutAnywhereIsRefused) {
  for (const fs::path& file : files_of(path("snapshot"))) {
    const fs::path whole = path("whole");
    fs::copy_file(file, whole, fs::copy_options::overwrite_existing);
    const auto size = fs::file_size(file);
    const auto step = stride(file, is_memory(file) ? 6 : 30);
    for (std::uintmax_t at = 0; at < size; at += step) {
      fs::resize_file(file, at);
      expect_refused(file.filename().string() + " cut at " + std::to_string(at));
      fs::copy_file(whole, file, fs::copy_options::overwrite_existing);
      if (HasFailure()) return;
    }
    fs::resize_file(file, size + 1);
    expect_refused(file.filename().string() + " with a byte more");
    fs::resize_file(file, size);
    fs::remove(file);
    expect_refused("no " + file.filename().string());
    fs::copy_file(whole, file);
  }
}

}  // namespace
}  // namespace clonesafe::lab
