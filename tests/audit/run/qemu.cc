// QEMU as the VMM under audit: its own vmgenid, stop, migrate to a file, and one incoming process
// for each clone.

#include "tests/audit/run/qmp.h"
#include "tests/audit/run/vmm.h"

namespace clonesafe::audit {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

std::uint64_t us_since(Clock::time_point start) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

class Qemu final : public Vmm {
 public:
  explicit Qemu(VmmOptions options) : options_(std::move(options)) {}

  Result<Guest> boot() override { return start("parent-vm", false); }

  Status snapshot(Guest&, unsigned) override {
    auto qmp = Qmp::connect(options_.folder / "parent-vm" / "qmp.sock");
    if (!qmp) return fail(qmp.error());
    if (auto stopped = qmp->execute("stop"); !stopped) return fail(stopped.error());
    // No limit to the speed: the guest is stopped.
    if (auto set = qmp->execute("migrate-set-parameters", R"({"max-bandwidth":9000000000000})");
        !set) {
      return fail(set.error());
    }
    if (auto asked = qmp->migrate_to(memory_image()); !asked) return asked;
    if (auto done = qmp->wait_migrated(); !done) return done;
    if (auto resumed = qmp->execute("cont"); !resumed) return fail(resumed.error());
    return {};
  }

  Result<Clones> restore(unsigned count) override {
    Clones clones;
    for (unsigned i = 1; i <= count; ++i) {
      const auto begin = Clock::now();
      const std::string name = "clone-vm-" + std::to_string(i);
      auto guest = start(name, true);
      if (!guest) return fail(guest.error());
      // QEMU names the socket before it listens on it, so its being there is not enough.
      Result<Qmp> qmp = fail("not tried");
      const auto connected = [&] {
        qmp = Qmp::connect(options_.folder / name / "qmp.sock");
        return qmp.has_value();
      };
      if (auto up = wait_until(connected, guest->process, seconds(30), "QMP socket"); !up)
        return fail(up.error().message() + ": " + qmp.error().message());
      if (auto asked = qmp->migrate_from(memory_image()); !asked) return fail(asked.error());
      if (auto done = qmp->wait_migrated(); !done) return fail(done.error());
      RestoreTimes times{.clone = i, .restore_us = us_since(begin)};
      if (auto running = qmp->execute("cont"); !running) return fail(running.error());
      clones.times.push_back(times);
      clones.collectors.push_back(guest->collector);
      clones.processes.push_back(std::move(guest->process));
    }
    return clones;
  }

  fs::path memory_image() const override { return options_.folder / "snapshot.migration"; }
  std::vector<fs::path> snapshot_files() const override { return {memory_image()}; }

 private:
  Result<Guest> start(const std::string& name, bool incoming) {
    const fs::path folder = options_.folder / name;
    fs::create_directories(folder);
    std::string cpu = "max";
    for (std::size_t at = 0; at < options_.cpu_mask.size();) {
      const std::size_t comma = std::min(options_.cpu_mask.find(',', at), options_.cpu_mask.size());
      cpu += ",-" + options_.cpu_mask.substr(at, comma - at);
      at = comma + 1;
    }
    std::vector<std::string> command = {
        options_.program,
        "-accel",
        options_.accelerator == "tcg" ? "tcg,thread=multi" : options_.accelerator,
        "-cpu",
        cpu,
        "-smp",
        std::to_string(options_.cpus),
        "-m",
        std::to_string(options_.memory_mib),
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-kernel",
        options_.kernel,
        "-initrd",
        options_.guest,
        "-append",
        kernel_command_line(options_),
        "-serial",
        "file:" + (folder / "console.log").string(),
        "-qmp",
        "unix:" + (folder / "qmp.sock").string() + ",server=on,wait=off",
        "-device",
        "virtio-rng-pci",
        "-device",
        "virtio-serial-pci",
        "-chardev",
        "socket,id=audit,server=on,wait=off,path=" + (folder / "audit.sock").string(),
        "-device",
        "virtserialport,chardev=audit,name=clonesafe.audit"};
    // A fresh id for each process, as a host that restores a snapshot has to give.
    if (options_.mode != Mode::without)
      command.insert(command.end(), {"-device", "vmgenid,guid=auto"});
    command.insert(command.end(), options_.arguments.begin(), options_.arguments.end());
    if (incoming) command.insert(command.end(), {"-incoming", "defer"});
    auto process = Process::start(command, folder / "stdout", folder / "stderr");
    if (!process) return fail(process.error());
    return Guest{*std::move(process), {folder / "audit.sock", 0}, folder / "console.log"};
  }

  VmmOptions options_;
};

}  // namespace

Result<std::unique_ptr<Vmm>> make_qemu(VmmOptions options) {
  if (options.mode == Mode::announced) {
    return fail("QEMU has no channel to announce a snapshot on; use --mode unannounced");
  }
  return std::make_unique<Qemu>(std::move(options));
}

}  // namespace clonesafe::audit
