#include "tests/lab/bare/bare_vm.h"

#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
constexpr Seconds kTime{60};
constexpr std::size_t kWord = sizeof(std::uint64_t);

// The generation as its bytes stand in memory.
std::string bytes_of(const std::string& generation) {
  std::uint64_t word = 0;
  const char* end = generation.data() + generation.size();
  if (std::from_chars(generation.data(), end, word, 16).ptr != end || generation.size() != 16)
    ADD_FAILURE() << "'" << generation << "' is no generation";
  std::string bytes(kWord, '\0');
  std::memcpy(bytes.data(), &word, kWord);
  return bytes;
}

}  // namespace

std::unique_ptr<BareVm> BareVm::start(const fs::path& folder,
                                      const std::vector<std::string>& arguments,
                                      const std::vector<std::string>& environment) {
  fs::create_directories(folder);
  std::vector<std::string> command = {Lab::get().clonevm,
                                      "run",
                                      "--kernel",
                                      Lab::get().kernel,
                                      "--mem",
                                      "64M",
                                      "--serial",
                                      (folder / "serial").string(),
                                      "--api",
                                      (folder / "api").string()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  auto process = Process::start(command, environment);
  if (!process) {
    ADD_FAILURE() << process.error().message();
    return nullptr;
  }
  std::unique_ptr<BareVm> vm(new BareVm(folder, std::move(*process)));
  if (!eventually(kTime, [&] { return read_file(vm->sent()).size() >= kWord; })) {
    ADD_FAILURE() << "the bare guest sent nothing";
    return nullptr;
  }
  return vm;
}

void BareTest::snapshot(const fs::path& api, const fs::path& directory,
                        const std::vector<std::string>& options) const {
  std::vector<std::string> command = {Lab::get().clonevm, "snapshot", "--api",
                                      api.string(),       "--out",    directory.string()};
  command.insert(command.end(), options.begin(), options.end());
  const auto outcome = run(command, kTime);
  ASSERT_TRUE(outcome) << outcome.error().message();
  ASSERT_EQ(outcome->status, 0) << outcome->output;
}

std::unique_ptr<Restored> BareTest::restore(const fs::path& snapshot, const std::string& run_dir,
                                            int count,
                                            const std::vector<std::string>& options) const {
  std::vector<std::string> all = {"--wait", "running"};
  all.insert(all.end(), options.begin(), options.end());
  return Restored::restore(snapshot, path(run_dir), count, all);
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

void expect_sends_only(const fs::path& sent, const std::string& generation) {
  std::string bytes;
  ASSERT_TRUE(eventually(kTime, [&] { return (bytes = read_file(sent)).size() >= 3 * kWord; }))
      << sent << " has " << bytes.size() << " bytes";
  const std::string word = bytes_of(generation);
  const std::size_t start = (word + word).find(bytes.substr(0, kWord));
  ASSERT_NE(start, std::string::npos) << sent << " starts with other bytes than " << generation;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    ASSERT_EQ(bytes[i], word[(start + i) % kWord]) << sent << ", byte " << i;
}

std::string generation(const Restored& restored, int clone) {
  const auto& report = restored.reports().at(static_cast<std::size_t>(clone - 1));
  return std::string(report.at("generation").as_string());
}

fs::path sent_by(const fs::path& run_dir, int clone) {
  return run_dir / std::to_string(clone) / "serial.log";
}

}  // namespace clonesafe::lab
