// Snapshots at random moments of a guest whose disks, network, vsock streams and timers are in full
// motion: fio and iperf3, which users believe, and guest_motion for what they can't tell.
// As many as CLONESAFE_LAB_SNAPSHOTS says and CLONESAFE_LAB_SECONDS has time for, at moments that
// follow from CLONESAFE_LAB_SEED.
#include <signal.h>

#include <boost/json/parse.hpp>
#include <fstream>
#include <iostream>
#include <random>
#include <thread>

#include "tests/lab/nested/host_network.h"
#include "tests/lab/nested/motion_counts.h"
#include "tests/lab/nested/motion_host.h"
#include "tests/lab/nested/state_fixture.h"
#include "vmm_device/net/namespace.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t kDiskSize = std::size_t{2} << 20;
// In the order of `--disk`: the programs', fio's, guest_motion's.
constexpr int kFioDisk = 1;
constexpr int kMotionDisk = 2;

unsigned from_environment(const char* name, unsigned otherwise) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing sets it
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise
                                          : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

const std::string kTools =
    "LD_LIBRARY_PATH=/tools/lib/x86_64-linux-gnu:/tools/usr/lib/"
    "x86_64-linux-gnu:/tools/lib/x86_64-linux-gnu/ceph:/tools/usr/lib/"
    "x86_64-linux-gnu/ceph /tools/bin/";
const std::string kLoadDisks =
    "while read -r module; do insmod /lib/modules/disk/$module; done </lib/modules/disk/load; "
    "dmesg -c >/dev/null; mkdir /tools && mount -t ext4 -o ro,noload /dev/vda /tools";
// Each block that is written is read again a little later, and has to be the right one.
const std::string kFio =
    kTools +
    "fio --name=motion --filename=/dev/vdb --rw=randrw --bsrange=4k-64k --ioengine=libaio "
    "--iodepth=8 --direct=1 --fdatasync=64 --thinktime=30000 --thinktime_blocks=16 --time_based "
    "--runtime=86400 --thread --verify=crc32c --verify_backlog=32 --verify_fatal=1 "
    "--output=/run/fio.out --eta=never >/run/fio.log 2>&1 & echo $! >/run/fio.pid; wait $!; "
    "echo \"ended $?\" >>/run/fio.log";
// A stream each way. In a clone it is an old one, whose other end isn't there: then a new one.
const std::string kIperf = "while [ ! -e /run/stop ]; do " + kTools + "iperf3 -c " +
                           HostNetwork::kHost +
                           " -t 86400 -i 1 -b 4M --pacing-timer 50000 --bidir --forceflush & "
                           "echo $! >/run/iperf.pid; wait $!; echo \"ended $?\"; sleep 0.2; "
                           "done </dev/null >/run/iperf.log 2>&1";

// A network with what answers in it.
struct Network {
  HostNetwork network;
  DatagramSink sink;
  Process iperf;
  static std::optional<Network> make(const std::string& name, const fs::path& files) {
    auto network = HostNetwork::make(name, files);
    if (!network) return std::nullopt;
    auto sink = DatagramSink::open(name);
    const auto inside = network::InNamespace::enter(name);
    auto iperf = Process::start({"sh", "-c", "exec ./iperf3 -s >/dev/null 2>&1"});
    EXPECT_TRUE(sink && inside && iperf) << name;
    if (!sink || !inside || !iperf) return std::nullopt;
    return Network{std::move(*network), std::move(*sink), std::move(*iperf)};
  }
  std::string option() const {
    return std::string("tap=") + HostNetwork::kTap + ",netns=" + network.name();
  }
};

class DeviceMomentsTest : public StateTest {
 protected:
  // What was so when a snapshot was taken.
  struct Moment {
    DiskCounts disks[2];         // fio's, guest_motion's
    std::uint64_t datagram = 0;  // the last that left
    std::array<MotionHost::Stream, kStreams> streams;
    std::uint64_t uptime_ms = 0;  // of the source, at most
  };

  void SetUp() override {
    fs::create_directories(scratch_ / "files");
    for (const char* disk : {"fio.img", "motion.img"}) {
      std::ofstream(scratch_ / disk, std::ios::binary);
      fs::resize_file(scratch_ / disk, kDiskSize);
    }
  }

  static Counts all_that_moves() {
    Counts counts = {{"exchanges", 0}, {"datagrams", 0}, {"vdb.reads", 0}, {"vdb.changes", 0}};
    for (int i = 0; i < kProcessors; ++i) counts["timers." + std::to_string(i)] = 0;
    for (int i = 0; i < kStreams; ++i) counts["acknowledged." + std::to_string(i)] = 0;
    for (const char* name : {"writes.", "reads."})
      for (int i = 0; i < 4; ++i) counts[name + std::to_string(i)] = 0;
    return counts;
  }
  // Waits until all of it has moved on.
  static Counts await_motion(const Guest& guest, Counts before) {
    std::erase_if(before,
                  [](const auto& count) { return !all_that_moves().contains(count.first); });
    return await_progress(guest, before, "guest_motion");
  }
  // As they came one after the other; returns the last.
  static std::uint64_t expect_consecutive(const Network& network,
                                          const std::vector<std::uint64_t>& numbers,
                                          std::uint64_t last, const Guest& guest,
                                          const fs::path& api) {
    bool right = true;
    for (const std::uint64_t number : numbers) {
      EXPECT_EQ(number, last + 1) << "a datagram is lost, or came twice, among " << numbers.front()
                                  << " to " << numbers.back();
      right = right && number == last + 1;
      last = number;
    }
    if (!right) {
      // Who lost it?
      const std::string counters =
          "grep -E 'Iface|lo:|eth|vm0|Udp:|Ip:' /proc/net/dev /proc/net/snmp";
      const auto in_guest = guest.run(counters, Seconds(10));
      const auto inside = network::InNamespace::enter(network.network.name());
      const auto on_host = lab::run({"sh", "-c", counters}, Seconds(10));
      ADD_FAILURE() << Metrics(api).net()
                    << "guest: " << (in_guest ? in_guest->output : "(it is paused)")
                    << "\nhost: " << (on_host ? on_host->output : "");
    }
    return last;
  }
  static void expect_nothing_wrong(const MotionHost& host) {
    for (const std::string& wrong : host.wrong()) ADD_FAILURE() << wrong;
  }
  std::unique_ptr<BootedVm> boot_in_motion(const Network& network) {
    BootOptions options{.cmdline = kNoProbes, .cpus = kProcessors};
    const auto layered = [&](const char* disk) {
      return (scratch_ / disk).string() + ",layer=" + (scratch_ / disk).string() + ".layer";
    };
    for (const std::string& disk :
         {std::string("tools.img,ro"), layered("fio.img"), layered("motion.img")}) {
      options.arguments.emplace_back("--disk");
      options.arguments.push_back(disk);
    }
    options.arguments.emplace_back("--net");
    options.arguments.push_back(network.option());
    auto vm = boot(options);
    if (!vm) return vm;
    const Guest guest = vm->guest();
    guest.get(kLoadDisks);
    guest.get(HostNetwork::kGuestUp);
    guest.get("(" + kFio + ") </dev/null >/dev/null 2>&1 &");
    guest.get("(" + kIperf + ") </dev/null >/dev/null 2>&1 &");
    guest.get("guest_motion run " + std::to_string(kProcessors) + " /dev/vdc " +
              HostNetwork::kHost + " </dev/null >/dev/null 2>&1 &");
    return vm;
  }

  // The sums of both disks.
  using Sums = std::array<std::string, 2>;

  // Ends what moves. Every request was done once, and what is read is what was written.
  Sums expect_disks_right(const Guest& guest, const fs::path& api, const Moment& before) {
    const auto settled = guest.run(
        "touch /run/stop; kill $(cat /run/fio.pid /run/iperf.pid); guest_motion settle || exit 1; "
        "while ! grep -q ended /run/fio.log; do sleep 0.05; done; "
        // fio's report names its error, if there was one; a mismatch stands in its log.
        "grep -q 'err= 0' /run/fio.out || { cat /run/fio.*; exit 1; }; "
        "if grep -v -E '^(ended|fio: terminating|$)' /run/fio.log; then exit 1; fi; "
        // What the kernel said at its start is gone (kLoadDisks).
        "if dmesg | grep -i -E 'error|not a head|hung|blocked for|lockup|stall|timed "
        "out|fail|BUG|WARNING|"
        "call trace'; then exit 1; fi; "
        // Frames that the driver found broken.
        "cd /sys/class/net/eth0/statistics && broken=$(cat rx_length_errors rx_frame_errors "
        "rx_crc_errors tx_errors tx_dropped tx_fifo_errors | tr -d '\\n'); "
        "[ $broken = 000000 ] || { echo frames: $broken; exit 1; }; "
        // Past the guest's cache.
        "for disk in vdb vdc; do dd if=/dev/$disk bs=1M iflag=direct 2>/dev/null | md5sum; done");
    if (!settled || settled->status != 0) {
      ADD_FAILURE() << (settled ? settled->output : settled.error().message()) << "\n"
                    << guest.get("guest_motion report");
      return {};
    }
    const Counts counts = counts_of(guest, "guest_motion");
    // Of fio's one thread each fdatasync is one flush; of several at once the kernel makes one.
    const std::uint64_t syncs[2] = {counts.at("vdb.flushes"), counts.at("syncs")};
    const Metrics metrics(api);
    for (const int disk : {kFioDisk, kMotionDisk}) {
      DiskCounts answered = counted_by_guest(counts, disk);
      answered.changes -= syncs[disk - 1];
      EXPECT_EQ(before.disks[disk - 1] + metrics.disk(disk), answered)
          << "disk " << disk << ": requests that the device did, and that the guest had answered";
    }
    Sums sums;
    std::istringstream lines(settled->output);
    for (std::string& sum : sums) std::getline(lines, sum);
    return sums;
  }
  // What a machine that ended left in its layer, over the image.
  void expect_layer_is(const fs::path& layer, int disk, const std::string& sum) {
    const fs::path merged = scratch_ / "merged";
    const auto committed =
        lab::run({Lab::get().clonevm, "commit", layer, "--image",
                  scratch_ / (disk == kFioDisk ? "fio.img" : "motion.img"), "--out", merged},
                 Seconds(60));
    ASSERT_TRUE(committed);
    EXPECT_EQ(committed->status, 0) << committed->output;
    const auto found = lab::run({"sh", "-c", "md5sum <" + merged.string()}, Seconds(60));
    EXPECT_EQ(found->output, sum + "\n") << "disk " << disk;
    fs::remove(merged);
  }

  // Nothing leaves a clone that is held.
  static void expect_held(const Network& network, const fs::path& api) {
    EXPECT_TRUE(eventually(Seconds(110), [&] {
      const auto captured = network.network.captured();
      const auto status = lab::run({Lab::get().clonevm, "status", "--api", api}, Seconds(60));
      if (!status || status->status != 0) return false;
      const json::object hold = json::parse(status->output).at("hold").as_object();
      if (!hold.at("held").as_bool()) return true;
      EXPECT_TRUE(captured.empty()) << "a packet of a clone that is held";
      return false;
    }));
  }

  void check_clone(const fs::path& snapshot, const std::string& name, const Moment& moment,
                   const Counts& before, bool hold, Laps& laps) {
    const auto network = Network::make(name, scratch_ / "files");
    ASSERT_TRUE(network);
    const fs::path run_dir = scratch_ / (name + ".run");
    const fs::path api = run_dir / "1" / "api.sock";
    std::vector<std::string> options = {"--keep-layers", "--net", network->option()};
    options.insert(options.end(), {"--wait", hold ? "safe" : "running"});
    if (hold) options.emplace_back("--hold-network");
    const auto started = std::chrono::steady_clock::now();
    auto restored = Restored::start(snapshot, run_dir, 1, options, {});
    ASSERT_TRUE(restored);
    if (hold) expect_held(*network, api);
    ASSERT_TRUE(restored->await_reports(1));
    const Guest guest = restored->guest(1);
    const auto host = MotionHost::listen(run_dir / "1" / "vsock.sock");
    ASSERT_TRUE(host) << host.error().message();
    laps.lap("restore");

    const Counts moved = await_motion(guest, before);
    // By now its streams are up again, and nothing breaks them any more.
    const Counts more = await_motion(guest, moved);
    for (const auto& [count, number] : moved) {
      if (count.starts_with("connections.") || count == "failed_connections" ||
          count == "broken_exchanges") {
        EXPECT_EQ(more.at(count), number) << count << ": a stream broke again";
      }
    }
    EXPECT_EQ(more.at("idle_ends"), before.at("idle_ends") + 1) << "who waits was not told";
    laps.lap("motion");
    expect_nothing_wrong(**host);
    SCOPED_TRACE("its clone");
    const auto streams = (*host)->streams();
    for (std::size_t i = 0; i < streams.size(); ++i) {
      EXPECT_EQ(streams[i].connections, 1) << "stream " << i;
      EXPECT_LE(streams[i].began_after, moment.streams[i].received)
          << "stream " << i << ": acknowledged, and never arrived";
    }
    // The network: a new connection, and what the parent had sent isn't sent again.
    EXPECT_TRUE(eventually(Seconds(60), [&] {
      const Iperf iperf = Iperf::of(guest);
      return iperf.ended > 0 && iperf.sent > 0 && iperf.received > 0;
    })) << guest.get("tail -20 /run/iperf.log");
    const auto datagrams = network->sink.numbers();
    ASSERT_FALSE(datagrams.empty());
    EXPECT_GT(datagrams.front(), moment.datagram) << "the parent has sent it";
    EXPECT_LE(datagrams.front(),
              moment.datagram + 1 + Metrics(api).of("net_parents_frames_total{net=\"0\"}"))
        << "lost";
    expect_consecutive(*network, datagrams, datagrams.front() - 1, guest, api);
    // No time passed while the snapshot lay.
    const auto ran = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - started);
    EXPECT_LE(more.at("uptime_ms"), moment.uptime_ms + static_cast<std::uint64_t>(ran.count()) + 1);

    laps.lap("network");
    const Sums sums = expect_disks_right(guest, api, moment);
    laps.lap("settled");
    restored->process().signal(SIGTERM);
    EXPECT_EQ(*restored->process().wait(Seconds(60)), 0);
    expect_layer_is(run_dir / "1" / "disk1.layer", kFioDisk, sums[0]);
    expect_layer_is(run_dir / "1" / "disk2.layer", kMotionDisk, sums[1]);
    fs::remove_all(run_dir);
    laps.lap("disks");
  }
};

TEST_F(DeviceMomentsTest, NothingIsLostOrDoneTwiceWheneverASnapshotIsTaken) {
  const unsigned seed = from_environment("CLONESAFE_LAB_SEED", std::random_device()());
  const unsigned wanted = from_environment("CLONESAFE_LAB_SNAPSHOTS", 2);
  std::mt19937 moments(seed);
  const auto network = Network::make("source", scratch_ / "files");
  ASSERT_TRUE(network);
  fs::create_directories(scratch_ / "source");
  const auto host = MotionHost::listen(scratch_ / "source" / "vsock");
  ASSERT_TRUE(host) << host.error().message();
  auto vm = boot_in_motion(*network);
  ASSERT_TRUE(vm);
  const Guest guest = vm->guest();
  const fs::path api = scratch_ / "source" / "api";
  Counts counts = await_motion(guest, all_that_moves());
  EXPECT_TRUE(eventually(Seconds(60), [&] {
    const Iperf iperf = Iperf::of(guest);
    return iperf.sent > 1 && iperf.received > 1;
  })) << guest.get("cat /run/iperf.log");
  ASSERT_FALSE(HasFailure());
  std::uint64_t datagram = 0;

  const auto end =
      std::chrono::steady_clock::now() + Seconds(from_environment("CLONESAFE_LAB_SECONDS", 86400));
  unsigned taken = 0;
  for (; taken < wanted && !HasFailure() && std::chrono::steady_clock::now() < end; ++taken) {
    const bool hold = moments() % 4 == 0;
    const auto pause = std::chrono::microseconds(moments() % 500'000);
    SCOPED_TRACE("seed " + std::to_string(seed) + ", moment " + std::to_string(taken) +
                 (hold ? ", held" : ""));
    Laps laps;
    std::this_thread::sleep_for(pause);
    // The moment. It stays paused until its clone was looked at, which so has the processors for
    // itself, and until all that it did is counted.
    guest.order("pause");
    const Metrics metrics(api);
    datagram = expect_consecutive(*network, network->sink.numbers(), datagram, guest, api);
    Moment moment{.disks = {metrics.disk(kFioDisk), metrics.disk(kMotionDisk)},
                  .datagram = datagram,
                  .streams = (*host)->streams()};
    const std::string name = "m" + std::to_string(taken);
    const fs::path snapshot = scratch_ / name;
    ASSERT_NO_FATAL_FAILURE(take(guest, snapshot, "--resume"));
    laps.lap("snapshot");
    guest.order("resume");
    moment.uptime_ms = counts_of(guest, "guest_motion")["uptime_ms"];
    guest.order("pause");
    check_clone(snapshot, name, moment, counts, hold, laps);
    fs::remove_all(snapshot);
    guest.order("resume");
    // The source has gone on, and heard nothing of it.
    counts = await_motion(guest, counts_of(guest, "guest_motion"));
    EXPECT_EQ(counts["idle_ends"], 0u);
    EXPECT_EQ(counts["broken_exchanges"], 0u);
    EXPECT_EQ(counts["failed_connections"], 0u);
    EXPECT_EQ(counts["late_connections"], 0u);
    for (const auto& stream : (*host)->streams()) EXPECT_EQ(stream.connections, 1);
    expect_nothing_wrong(**host);
    EXPECT_EQ(Iperf::of(guest).ended, 0) << guest.get("tail -20 /run/iperf.log");
    datagram = expect_consecutive(*network, network->sink.numbers(), datagram, guest, api);
    laps.lap("source");
    std::cout << "device moments: " << taken + 1 << " of " << wanted << ", seed " << seed
              << (hold ? ", held" : "") << (HasFailure() ? ", WRONG" : "") << laps.text() << " s"
              << std::endl;
  }
  SCOPED_TRACE("seed " + std::to_string(seed) + ", the source at its end");
  const Sums sums = expect_disks_right(guest, api, {});
  guest.order("stop");
  ASSERT_TRUE(vm->process().wait(Seconds(20)));
  expect_layer_is(scratch_ / "fio.img.layer", kFioDisk, sums[0]);
  expect_layer_is(scratch_ / "motion.img.layer", kMotionDisk, sums[1]);
  std::cout << "device moments: " << taken << " snapshots" << (HasFailure() ? ", WRONG" : "")
            << ", seed " << seed << std::endl;
}

}  // namespace
}  // namespace clonesafe::lab
