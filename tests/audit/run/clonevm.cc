// clonevm as the VMM under audit, through its command line as a user has it.

#include <boost/json.hpp>
#include <sstream>

#include "tests/audit/guest/collector.h"
#include "tests/audit/run/vmm.h"
#include "tests/audit/run/worker_ids.h"

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
  explicit Clonevm(VmmOptions options)
      : options_(std::move(options)), api_(options_.folder / "parent-vm" / "api.sock") {}

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
    if (options_.way == Way::incremental) command.emplace_back("--track-dirty");
    command.insert(command.end(), options_.arguments.begin(), options_.arguments.end());
    if (auto served = worker_ids_.serve(folder / "vsock.sock"); !served)
      return fail(served.error());
    auto process = Process::start(command, folder / "stdout", folder / "stderr");
    if (!process) return fail(process.error());
    return Guest{
        *std::move(process), {folder / "vsock.sock", kCollectorPort}, folder / "console.log"};
  }

  Result<Guest> make_parent(Guest booted) override {
    if (options_.way != Way::descendant) return booted;
    Guest parent = std::move(booted);
    for (const std::string level : {"child", "grandchild"}) {
      const fs::path snapshot = options_.folder / (level + "-snapshot");
      if (auto taken = take(snapshot, {"--stop"}); !taken) return fail(taken.error());
      if (!parent.process.wait(seconds(60))) return fail("the machine does not end");
      auto clones = restore_from(snapshot, options_.folder / (level + "-vm"), 1);
      if (!clones) return fail(clones.error(), level);
      const fs::path folder = options_.folder / (level + "-vm") / "1";
      parent = Guest{std::move(clones->processes.front()), clones->collectors.front(),
                     folder / "serial.log"};
      api_ = folder / "api.sock";
      fs::remove_all(snapshot);
    }
    return parent;
  }

  Status snapshot(Guest&, unsigned clones) override {
    if (options_.way == Way::fork) return fork(clones);
    if (options_.way == Way::incremental) {
      if (auto base = take(options_.folder / "base", {"--resume"}); !base) return base;
      const auto changed =
          take(snapshot_folder(), {"--resume", "--diff", options_.folder / "base"});
      if (!changed) return changed;
      return call({"merge", snapshot_folder(), "--out", merged_folder()}, "merge");
    }
    const bool announced = options_.mode == Mode::announced;
    return take(snapshot_folder(), {"--resume", "--prepare", announced ? "agent" : "none"});
  }

  Result<Clones> restore(unsigned clones) override {
    if (forked_) return *std::exchange(forked_, std::nullopt);
    return restore_from(snapshot_folder(), options_.folder / "clones-vm", clones);
  }

  fs::path memory_image() const override {
    return (options_.way == Way::incremental ? merged_folder() : snapshot_folder()) / "memory.img";
  }
  std::vector<fs::path> snapshot_files() const override {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(snapshot_folder()))
      files.push_back(entry.path());
    return files;
  }

 private:
  static fs::path vsock_of_clone(const fs::path& run_folder, unsigned number) {
    return run_folder / std::to_string(number) / "vsock.sock";
  }

  fs::path snapshot_folder() const { return options_.folder / "snapshot"; }

  fs::path merged_folder() const { return options_.folder / "merged"; }

  // One call of clonevm that ends by itself.
  Status call(std::vector<std::string> arguments, const std::string& name) const {
    arguments.insert(arguments.begin(), options_.program);
    auto process = Process::start(arguments, options_.folder / (name + ".stdout"),
                                  options_.folder / (name + ".stderr"));
    if (!process) return fail(process.error());
    const auto code = process->wait(seconds(120));
    if (!code) return fail(code.error(), name);
    if (*code != 0) return fail(process->last_words());
    return {};
  }

  Status take(const fs::path& out, const std::vector<std::string>& options) const {
    std::vector<std::string> arguments = {"snapshot", "--api", api_, "--out", out};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return call(arguments, "snapshot");
  }

  // The snapshot, to find the cut in, and the clones are both of the machine as it stands still.
  Status fork(unsigned clones) {
    if (auto paused = call({"pause", "--api", api_}, "pause"); !paused) return paused;
    if (auto taken = take(snapshot_folder(), {"--resume"}); !taken) return taken;
    auto forked = make_clones({"fork", "--api", api_}, options_.folder / "clones-vm", clones);
    if (!forked) return fail(forked.error());
    forked_ = *std::move(forked);
    return call({"resume", "--api", api_}, "resume");
  }

  Result<Clones> restore_from(const fs::path& snapshot, const fs::path& run_folder,
                              unsigned count) {
    return make_clones({"restore", snapshot}, run_folder, count);
  }

  Result<Clones> make_clones(std::vector<std::string> arguments, const fs::path& run_folder,
                             unsigned count) {
    const bool safe = options_.mode != Mode::without && options_.wait_safe;
    const std::string name = run_folder.filename();
    const std::vector<std::string> common = {
        "--count", std::to_string(count),     "--run-dir", run_folder,
        "--wait",  safe ? "safe" : "running", "--timeout", "180",
        "--json"};
    arguments.insert(arguments.end(), common.begin(), common.end());
    arguments.insert(arguments.begin(), options_.program);
    const fs::path reports = options_.folder / (name + ".json");
    auto process = Process::start(arguments, reports, options_.folder / (name + ".stderr"));
    if (!process) return fail(process.error());
    Clones clones;
    std::string failure;
    const auto all_reported = [&] {
      for (unsigned i = 1; i <= count; ++i) {
        if (auto served = worker_ids_.serve(vsock_of_clone(run_folder, i)); !served)
          failure = served.error().message();
      }
      clones.times = reported(reports, failure);
      return clones.times.size() >= count;
    };
    if (auto status = wait_until(all_reported, *process, seconds(240), "report of all clones");
        !status) {
      return fail(status.error());
    }
    if (!failure.empty()) return fail("a clone was not restored: " + failure);
    for (unsigned i = 1; i <= count; ++i) {
      clones.collectors.push_back({vsock_of_clone(run_folder, i), kCollectorPort});
    }
    clones.processes.push_back(*std::move(process));
    return clones;
  }

  // The clones that clonevm has printed so far, one object a line; the reason of one that failed.
  static std::vector<RestoreTimes> reported(const fs::path& reports, std::string& failure) {
    std::vector<RestoreTimes> times;
    std::istringstream lines(read_text(reports));
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
  fs::path api_;  // of the machine to clone
  WorkerIds worker_ids_;
  std::optional<Clones> forked_;
};

}  // namespace

Result<std::unique_ptr<Vmm>> make_clonevm(VmmOptions options) {
  return std::make_unique<Clonevm>(std::move(options));
}

}  // namespace clonesafe::audit
