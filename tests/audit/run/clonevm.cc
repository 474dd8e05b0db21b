// clonevm as the VMM under audit, through its command line as a user has it.

#include <boost/json.hpp>
#include <sstream>

#include "tests/audit/guest/collector.h"
#include "tests/audit/run/vmm.h"

namespace clonesafe::audit {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;
using std::chrono::seconds;

std::optional<std::uint64_t> number(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  return static_cast<std::uint64_t>(value->to_number<double>());
}

class Clonevm final : public Vmm {
 public:
  explicit Clonevm(VmmOptions options) : options_(std::move(options)) {}

  Result<Guest> boot() override {
    const fs::path folder = options_.folder / "parent-vm";
    fs::create_directories(folder);
    std::vector<std::string> command = {
        options_.program, "run",
        "--kernel",       options_.kernel,
        "--initrd",       options_.guest,
        "--cmdline",      kernel_command_line(options_),
        "--mem",          std::to_string(options_.memory_mib) + "M",
        "--cpus",         std::to_string(options_.cpus),
        "--vsock",        "cid=3,path=" + (folder / "vsock.sock").string(),
        "--serial",       folder / "console.log",
        "--api",          folder / "api.sock"};
    if (options_.mode == Mode::without) {
      command.insert(command.end(), {"--no-vmgenid", "--no-vmclock", "--no-restore-page"});
    }
    if (!options_.cpu_mask.empty())
      command.insert(command.end(), {"--cpu-mask", options_.cpu_mask});
    command.insert(command.end(), options_.arguments.begin(), options_.arguments.end());
    auto process = Process::start(command, folder / "stdout", folder / "stderr");
    if (!process) return fail(process.error());
    return Guest{
        *std::move(process), {folder / "vsock.sock", kCollectorPort}, folder / "console.log"};
  }

  Status snapshot(Guest&) override {
    const bool announced = options_.mode == Mode::announced;
    auto process = Process::start(
        {options_.program, "snapshot", "--api", options_.folder / "parent-vm" / "api.sock", "--out",
         snapshot_folder(), "--prepare", announced ? "agent" : "none", "--resume"},
        options_.folder / "snapshot.stdout", options_.folder / "snapshot.stderr");
    if (!process) return fail(process.error());
    const auto code = process->wait(seconds(120));
    if (!code) return fail(code.error());
    if (*code != 0) return fail("no snapshot: " + process->last_words());
    return {};
  }

  Result<Clones> restore(unsigned count) override {
    const fs::path run_folder = options_.folder / "clones-vm";
    const bool safe = options_.mode != Mode::without && options_.wait_safe;
    auto process =
        Process::start({options_.program, "restore", snapshot_folder(), "--count",
                        std::to_string(count), "--run-dir", run_folder, "--wait",
                        safe ? "safe" : "running", "--timeout", "180", "--json"},
                       options_.folder / "restore.json", options_.folder / "restore.stderr");
    if (!process) return fail(process.error());
    Clones clones;
    std::string failure;
    const auto all_reported = [&] {
      clones.times = reported(failure);
      return clones.times.size() >= count;
    };
    if (auto status = wait_until(all_reported, *process, seconds(240), "report of all clones");
        !status) {
      return fail(status.error());
    }
    if (!failure.empty()) return fail("a clone was not restored: " + failure);
    for (unsigned i = 1; i <= count; ++i) {
      clones.collectors.push_back({run_folder / std::to_string(i) / "vsock.sock", kCollectorPort});
    }
    clones.processes.push_back(*std::move(process));
    return clones;
  }

  fs::path memory_image() const override { return snapshot_folder() / "memory.img"; }
  std::vector<fs::path> snapshot_files() const override {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(snapshot_folder()))
      files.push_back(entry.path());
    return files;
  }

 private:
  fs::path snapshot_folder() const { return options_.folder / "snapshot"; }

  // The clones that restore has printed so far, one object a line; the reason of one that failed.
  std::vector<RestoreTimes> reported(std::string& failure) const {
    std::vector<RestoreTimes> times;
    std::istringstream lines(read_text(options_.folder / "restore.json"));
    for (std::string line; std::getline(lines, line);) {
      boost::system::error_code error;
      const json::value value = json::parse(line, error);
      if (error || !value.is_object()) continue;
      const json::object& object = value.as_object();
      const auto clone = number(object, "clone");
      if (!clone) continue;
      const json::value* state = object.if_contains("state");
      if (state != nullptr && *state == "failed") {
        failure = "clone " + std::to_string(*clone);
        const json::value* reason = object.if_contains("reason");
        if (reason != nullptr && reason->is_string())
          failure += ": " + std::string(reason->as_string());
      }
      times.push_back({static_cast<unsigned>(*clone), number(object, "restore_us"),
                       number(object, "first_exit_us"), number(object, "safe_us")});
    }
    return times;
  }

  VmmOptions options_;
};

}  // namespace

Result<std::unique_ptr<Vmm>> make_clonevm(VmmOptions options) {
  return std::make_unique<Clonevm>(std::move(options));
}

}  // namespace clonesafe::audit
