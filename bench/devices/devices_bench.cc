// clonevm's disk, network and vsock beside those of QEMU's microvm. Both guests run at the same
// time, and what is measured is measured in one and then in the other, over and over. Runs on a
// host with KVM (scripts/bench.sh devices); CLONESAFE_BENCH_ROUNDS says how often,
// CLONESAFE_BENCH_SECONDS how long each time, CLONESAFE_BENCH_ONLY names a figure,
// CLONESAFE_BENCH_COUNTS=1 has it say what the VMMs' threads and KVM did meanwhile,
// CLONESAFE_BENCH_OTHER is another clonevm, which is measured too, and is not in the results.
#include <sys/mount.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <thread>

#include "bench/devices/qemu_vm.h"
#include "bench/devices/vmm_threads.h"
#include "bench/devices/wake_trace.h"
#include "bench/report/results.h"
#include "tests/lab/nested/clone_fixture.h"
#include "tests/lab/nested/host_network.h"
#include "vmm_device/net/namespace.h"

namespace clonesafe::bench {
namespace {

namespace fs = std::filesystem;
using lab::Guest;
using lab::HostNetwork;
using lab::Process;
using lab::Seconds;

constexpr int kCpus = 1;
const std::string kMemory = "512M";
constexpr std::size_t kDiskSize = std::size_t{256} << 20;
constexpr std::uint32_t kQemuCid = 42;
const std::string kPort = "9100";
const std::string kTcp = std::string("tcp:") + HostNetwork::kHost + ":" + kPort;
const std::string kVsock = "vsock:2:" + kPort;  // the host, as guests see it
// Neither end sends anything by itself, which would wake an idle VMM.
const std::string kNoIpv6 = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ";
// Nor does a guest's kernel read its entropy device, as Linux does every now and then.
const std::string kNoEntropyReads = "echo none >/sys/class/misc/hw_random/rng_current; ";
// The drivers, and an address.
const std::string kSetUp =
    kNoIpv6 + kNoEntropyReads +
    "for what in disk net; do while read -r module; do insmod /lib/modules/$what/$module; done "
    "</lib/modules/$what/load; done; ip addr add " +
    std::string(HostNetwork::kGuest) + "/24 dev eth0 && ip link set eth0 up && ping -c 1 -W 10 " +
    HostNetwork::kHost;

std::string variable(const char* name, const char* otherwise) {
  const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return text == nullptr || *text == 0 ? otherwise : text;
}
std::string seconds() {
  return variable("CLONESAFE_BENCH_SECONDS", "3");
}

// One of the two guests that are compared.
struct Machine {
  std::string name;
  Guest guest;
  pid_t vmm = 0;
};

double number_of(const std::string& text) {
  return std::strtod(text.c_str(), nullptr);
}

// A field of fio's terse output: 7 is KiB a second read, 8 is reads a second.
double fio(const Guest& guest, const std::string& options, int field) {
  return number_of(guest.get(
      "fio --name=read --filename=/dev/vda --direct=1 --ioengine=libaio --thread --time_based "
      "--runtime=" +
      seconds() + " --output-format=terse --terse-version=3 " + options + " | cut -d ';' -f " +
      std::to_string(field)));
}

double iperf3(const Guest& guest, const std::string& options) {
  boost::system::error_code error;
  const auto report = boost::json::parse(
      guest.get("iperf3 -J -c " + std::string(HostNetwork::kHost) + " -t " + seconds() + options),
      error);
  const auto* rate =
      error ? nullptr : report.find_pointer("/end/sum_received/bits_per_second", error);
  if (rate != nullptr) return rate->to_number<double>() / 8 / (1 << 20);
  ADD_FAILURE() << "iperf3 gave no rate";
  return 0;
}

double io(const Guest& guest, const std::string& verb, const std::string& address) {
  return number_of(guest.get("bench_io " + verb + " " + address + " " + seconds()));
}

constexpr double kMiB = 1 << 20;

struct Measurement {
  const char* figure;
  const char* unit;
  const char* peer;
  std::function<double(const Guest&)> run;
};

const std::vector<Measurement>& measurements() {
  static const char* const kQemu = "QEMU microvm";
  static const char* const kVhost = "QEMU microvm, vhost-vsock in the kernel";
  static const std::vector<Measurement> all = {
      {"devices.blk_rand_vs_qemu", "reads of 4 KiB a second, 16 at a time", kQemu,
       [](const Guest& guest) { return fio(guest, "--rw=randread --bs=4k --iodepth=16", 8); }},
      {"devices.blk_rand1_vs_qemu", "reads of 4 KiB a second, one at a time", kQemu,
       [](const Guest& guest) { return fio(guest, "--rw=randread --bs=4k --iodepth=1", 8); }},
      {"devices.blk_seq_vs_qemu", "MiB a second, reads of 1 MiB, 4 at a time", kQemu,
       [](const Guest& guest) { return fio(guest, "--rw=read --bs=1M --iodepth=4", 7) / 1024; }},
      {"devices.net_tput_vs_qemu", "MiB a second from the guest, iperf3", kQemu,
       [](const Guest& guest) { return iperf3(guest, ""); }},
      {"devices.net_receive_vs_qemu", "MiB a second to the guest, iperf3", kQemu,
       [](const Guest& guest) { return iperf3(guest, " -R"); }},
      {"devices.net_rr_vs_qemu", "times a second a byte there and back, TCP", kQemu,
       [](const Guest& guest) { return io(guest, "pingpong", kTcp); }},
      {"devices.vsock_vs_qemu", "MiB a second from the guest", kVhost,
       [](const Guest& guest) { return io(guest, "send", kVsock) / kMiB; }},
      {"devices.vsock_receive_vs_qemu", "MiB a second to the guest", kVhost,
       [](const Guest& guest) { return io(guest, "receive", kVsock) / kMiB; }},
  };
  return all;
}

class DevicesBench : public lab::CloneTest {
 protected:
  void SetUp() override {
    // Statistics of KVM, for CLONESAFE_BENCH_COUNTS.
    (void)::mount("debugfs", "/sys/kernel/debug", "debugfs", 0, nullptr);
    const std::string other = variable("CLONESAFE_BENCH_OTHER", "");
    std::vector<std::string> names = {"clonevm", "qemu"};
    if (!other.empty()) names.emplace_back("other");
    for (const std::string& name : names) {
      auto network = HostNetwork::make_bare("bench-" + name);
      ASSERT_TRUE(network);
      {
        const auto inside = network::InNamespace::enter(network->name());
        ASSERT_TRUE(inside);
        ASSERT_TRUE(lab::run({"sh", "-c", kNoIpv6}, Seconds(20)));
      }
      networks_.push_back(std::move(*network));
      // The same bytes for both, none of them a hole.
      const auto made =
          lab::run({"sh", "-c",
                    "dd if=/dev/urandom of=" + (scratch_ / (name + ".disk")).string() +
                        " bs=1M count=" + std::to_string(kDiskSize >> 20)},
                   Seconds(120));
      ASSERT_TRUE(made && made->status == 0);
    }
    ASSERT_NO_FATAL_FAILURE(boot_clonevm("clonevm", networks_[0], {}));
    ASSERT_NO_FATAL_FAILURE(boot_qemu());
    if (!other.empty()) {
      ASSERT_NO_FATAL_FAILURE(boot_clonevm("other", networks_[2], "./other"));
    }
    for (const Machine& machine : machines_) machine.guest.get(kSetUp);
    ASSERT_NO_FATAL_FAILURE(serve());
  }

  void boot_clonevm(const std::string& name, const HostNetwork& network,
                    const std::string& program) {
    clonevms_.push_back(lab::BootedVm::boot(
        scratch_ / name, {.arguments = {"--disk", (scratch_ / (name + ".disk")).string(), "--net",
                                        std::string("tap=") + HostNetwork::kTap +
                                            ",mac=52:54:00:00:00:01,netns=" + network.name()},
                          .cmdline = lab::kNoAgent,
                          .cpus = kCpus,
                          .memory = kMemory,
                          .program = program}));
    ASSERT_TRUE(clonevms_.back());
    machines_.push_back({name, clonevms_.back()->guest(), clonevms_.back()->process().pid()});
    start_server("unix:" + (scratch_ / name / "vsock").string() + "_" + kPort);
  }

  void boot_qemu() {
    qemu_ = QemuVm::boot(scratch_ / "qemu", {.program = "./qemu/qemu",
                                             .cmdline = lab::kNoAgent,
                                             .memory = kMemory,
                                             .cpus = kCpus,
                                             .disk = scratch_ / "qemu.disk",
                                             .tap = HostNetwork::kTap,
                                             .network_namespace = networks_[1].name(),
                                             .cid = kQemuCid});
    ASSERT_TRUE(qemu_);
    machines_.push_back({"qemu", qemu_->guest(), qemu_->process().pid()});
  }

  // The host's ends, for each guest its own.
  void serve() {
    for (const HostNetwork& network : networks_) {
      const auto inside = network::InNamespace::enter(network.name());
      ASSERT_TRUE(inside);
      auto iperf3_server = Process::start({"./iperf3", "-s"});
      ASSERT_TRUE(iperf3_server);
      servers_.push_back(std::move(*iperf3_server));
      start_server(kTcp);
    }
    start_server("vsock:4294967295:" + kPort);
  }
  void start_server(const std::string& address) {
    auto server = Process::start({"./bench_io", "serve", address});
    ASSERT_TRUE(server);
    const auto ready = server->read_line(Seconds(60));
    ASSERT_TRUE(ready) << ready.error().message();
    servers_.push_back(std::move(*server));
  }

  void measure(const Measurement& measurement, Results& results) {
    const int rounds = std::max(1, std::atoi(variable("CLONESAFE_BENCH_ROUNDS", "3").c_str()));
    std::vector<std::vector<double>> values(machines_.size());
    for (int round = 0; round < rounds; ++round) {
      // Neither is always the first.
      for (std::size_t turn = 0; turn < machines_.size(); ++turn) {
        const std::size_t which = (turn + static_cast<std::size_t>(round)) % machines_.size();
        const Machine& machine = machines_[which];
        const VmmCounts before = counts_of(machine.vmm);
        values[which].push_back(measurement.run(machine.guest));
        std::cout << measurement.figure << " " << machine.name << " " << values[which].back()
                  << std::endl;
        if (!variable("CLONESAFE_BENCH_COUNTS", "").empty())
          std::cout << "  " << describe(counts_of(machine.vmm) - before) << std::endl;
      }
    }
    results.add({.name = measurement.figure,
                 .value = quantile(values[0], 0.5),
                 .unit = measurement.unit,
                 .peer = measurement.peer,
                 .peer_value = quantile(values[1], 0.5),
                 .goal = 0.8,
                 .more_is_better = true});
  }

  // How often threads are woken while the guests have nothing to do.
  void measure_idle(Results& results) {
    // clonevm has a timer of 10 s for each stream that a host program asked a guest for.
    constexpr Seconds kQuiet{12};
    constexpr Seconds kWatched{10};
    std::this_thread::sleep_for(kQuiet);
    std::vector<VmmCounts> before;
    const WakeTrace ours(machines_[0].vmm);
    for (const Machine& machine : machines_) before.push_back(counts_of(machine.vmm));
    std::this_thread::sleep_for(kWatched);
    for (const std::size_t which : {0U, 1U}) {
      const VmmCounts idle = counts_of(machines_[which].vmm) - before[which];
      std::cout << "idle " << machines_[which].name << ": " << describe(idle) << std::endl;
      const std::string who = which == 0 ? "" : "qemu_";
      results.add({.name = "devices." + who + "idle_wakeups",
                   .value = static_cast<double>(slept(idle, false)),
                   .unit = "wake-ups of threads but vCPUs' in 10 s",
                   .goal = which == 0 ? std::optional(0.0) : std::nullopt});
      results.add({.name = "devices." + who + "idle_vcpu_wakeups",
                   .value = static_cast<double>(slept(idle, true)),
                   .unit = "wake-ups of the vCPU, by the guest's own timers, in 10 s"});
    }
    std::cout << ours.lines() << std::flush;
  }

  std::vector<HostNetwork> networks_;
  std::vector<std::unique_ptr<lab::BootedVm>> clonevms_;
  std::unique_ptr<QemuVm> qemu_;
  std::vector<Machine> machines_;
  std::vector<Process> servers_;
};

TEST_F(DevicesBench, DevicesFigures) {
  Results results;
  const std::string only = variable("CLONESAFE_BENCH_ONLY", "");
  for (const Measurement& measurement : measurements()) {
    if (std::string(measurement.figure).find(only) != std::string::npos)
      measure(measurement, results);
  }
  measure_idle(results);
  ASSERT_TRUE(results.write(variable("OUT", ".") + "/results.json"));
}

}  // namespace
}  // namespace clonesafe::bench
