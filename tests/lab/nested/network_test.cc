// Networks of guests: an unmodified kernel's driver on a tap, clones with taps and addresses of
// their own, and a network that is held until the guest is safe. Guests send without pause, across
// their snapshots.
#include <boost/json/parse.hpp>
#include <fstream>

#include "tests/lab/nested/clone_fixture.h"
#include "tests/lab/nested/host_network.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t kFile = std::size_t{4} << 20;

// Numbers to the host, some tens a second, whatever becomes of them.
const std::string kStream =
    "cat >/run/stream.py <<'END'\n"
    "import socket, time\n"
    "stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "number = 0\n"
    "while True:\n"
    "    try:\n"
    "        stream.sendto(b'number %d' % number, ('10.0.0.1', 9000))\n"
    "        number += 1\n"
    "    except OSError:\n"
    "        pass\n"
    "    time.sleep(0.02)\n"
    "END\n";

// What the agent runs before it reports: so at least one packet is sent while a clone is held,
// however soon it is safe.
const std::string kHook =
    "mkdir -p /etc/clonesafe/hooks.d/after-restore && cd /etc/clonesafe/hooks.d/after-restore && "
    "printf '#!/bin/sh\\nping -c 1 -W 1 10.0.0.1\\nexit 0\\n' >say && chmod 755 say";

// The command server takes one line.
std::string one_line(const std::string& script) {
  std::string line = "printf '%b' '";
  for (const char c : script) {
    if (c == '\n')
      line += "\\n";
    else if (c == '\'')
      line += "\\0047";
    else if (c == '%')
      line += "\\0045";
    else
      line += c;
  }
  return line + "' >/run/script; sh /run/script";
}

// Numbers that were captured, in order.
std::vector<std::uint64_t> numbers(const std::vector<Captured>& captured) {
  std::vector<std::uint64_t> all;
  for (const Captured& frame : captured)
    if (frame.number) all.push_back(*frame.number);
  return all;
}
bool announced(const std::vector<Captured>& captured) {
  return std::ranges::any_of(captured, &Captured::announces);
}

class NetworkTest : public CloneTest {
 protected:
  void SetUp() override {
    fs::create_directories(scratch_ / "files");
    std::string text(kFile, '\0');
    std::uint32_t state = 1;
    for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    std::ofstream(scratch_ / "files" / "data", std::ios::binary) << text;
  }
  std::optional<HostNetwork> network(const std::string& name) {
    const std::string whole =
        std::string(testing::UnitTest::GetInstance()->current_test_info()->name()).substr(0, 8) +
        "-" + name;
    return HostNetwork::make(whole, scratch_ / "files");
  }
  // A guest that is in this network, with the stream running.
  std::unique_ptr<BootedVm> boot_in(const HostNetwork& network, const std::string& cmdline,
                                    std::vector<std::string> more = {}) {
    BootOptions options{.arguments = std::move(more), .cmdline = cmdline};
    options.arguments.emplace_back("--net");
    options.arguments.push_back(std::string("tap=") + HostNetwork::kTap +
                                ",mac=52:54:00:00:00:01,netns=" + network.name());
    auto vm = boot(options);
    if (!vm) return vm;
    vm->guest().get(HostNetwork::kGuestUp);
    vm->guest().get(one_line(kStream));
    vm->guest().get("python3 /run/stream.py </dev/null >/run/stream.log 2>&1 &");
    return vm;
  }
  static json::object status_of(const fs::path& api) {
    const auto outcome = lab::run({Lab::get().clonevm, "status", "--api", api}, Seconds(60));
    if (!outcome || outcome->status != 0) return {};
    return json::parse(outcome->output).as_object();
  }
  fs::path api(const std::string& run_dir, int clone) {
    return scratch_ / run_dir / std::to_string(clone) / "api.sock";
  }
  // Looks into the capture and then asks for the hold, as long as it is in force: whatever was
  // captured by then left a guest that was held.
  static void expect_nothing_while_held(const HostNetwork& network, const fs::path& api,
                                        std::uint64_t until_packets) {
    EXPECT_TRUE(eventually(Seconds(110), [&] {
      const auto captured = network.captured();
      const json::object status = status_of(api);
      if (status.empty() || status.at("hold").is_null()) return false;
      const auto& hold = status.at("hold").as_object();
      EXPECT_TRUE(hold.at("held").as_bool());
      EXPECT_TRUE(captured.empty()) << captured.size() << " packets of a guest that is held";
      return hold.at("packets").to_number<std::uint64_t>() >= until_packets;
    }));
  }
  // Clones of a guest whose sender stands still until they are repaired: one has a document with
  // addresses, its twin has one without, and one has addresses for an interface that isn't there.
  void expect_addresses_by_document(const Guest& source) {
    constexpr const char* kMac = "52:54:00:00:01:01";
    constexpr const char* kIp = "10.0.0.12";
    source.get(
        "for pid in $(pidof python3); do echo $pid >/sys/fs/cgroup/workload/cgroup.procs; "
        "done; grep . /sys/fs/cgroup/workload/cgroup.procs");
    ASSERT_EQ(source.snapshot(scratch_ / "frozen", {"--prepare", "agent", "--stop"})->status, 0);
    std::ofstream(scratch_ / "net-1.json") << R"({"network": {"eth0": {"macaddress": ")" << kMac
                                           << R"(", "addresses": [")" << kIp << R"(/24"]}}})";
    std::ofstream(scratch_ / "net-2.json") << R"({"role": "twin"})";
    std::ofstream(scratch_ / "net-3.json") << R"({"network": {"eth7": {}}})";
    const auto named = network("n1");
    const auto twin = network("n2");
    const auto refused = network("n3");
    ASSERT_TRUE(named && twin && refused);
    const std::string names = named->name().substr(0, named->name().size() - 1);
    auto restored =
        Restored::restore(scratch_ / "frozen", scratch_ / "named", 3,
                          {"--timeout", "110", "--wait", "safe", "--hold-network", "--metadata",
                           scratch_ / "net-%d.json", "--net",
                           std::string("tap=") + HostNetwork::kTap + ",netns=" + names + "%d"});
    ASSERT_TRUE(restored);
    const std::string macs[2] = {kMac, "52:54:00:00:00:01"};
    const std::string ips[2] = {kIp, HostNetwork::kGuest};
    const HostNetwork* const networks[2] = {&*named, &*twin};
    for (int clone = 0; clone < 2; ++clone) {
      SCOPED_TRACE(clone);
      EXPECT_EQ(restored->reports()[static_cast<std::size_t>(clone)].at("state").as_string(),
                "safe");
      const Guest guest = restored->guest(clone + 1);
      EXPECT_EQ(guest.get("cat /sys/class/net/eth0/address"), macs[clone]);
      EXPECT_EQ(guest.get("ip -4 addr show dev eth0 | sed -n 's/.*inet \\([^ ]*\\).*/\\1/p'"),
                ips[clone] + "/24");
      std::vector<Captured> captured;
      EXPECT_TRUE(eventually(Seconds(60), [&] {
        const auto more = networks[clone]->captured();
        captured.insert(captured.end(), more.begin(), more.end());
        return numbers(captured).size() > 5 && announced(captured);
      }));
      // From the first frame that left on.
      for (const Captured& frame : captured) {
        if (frame.ip.empty()) continue;
        EXPECT_EQ(frame.mac, macs[clone]);
        EXPECT_EQ(frame.ip, ips[clone]);
      }
      // The neighbour that was entered by hand is still known, and answers come.
      EXPECT_EQ(download(guest) + "\n", md5());
    }
    const std::string report = json::serialize(restored->reports()[2]);
    EXPECT_NE(report.find(R"("state":"degraded")"), std::string::npos) << report;
    EXPECT_NE(report.find("eth7: there is no such interface"), std::string::npos) << report;
    EXPECT_TRUE(status_of(api("named", 3)).at("hold").as_object().at("held").as_bool());
    EXPECT_TRUE(refused->captured().empty()) << "a guest that is not as it was ordered has spoken";
  }
  static std::string download(const Guest& guest) {
    return guest.get(std::string("wget -q -O - http://") + HostNetwork::kHost + "/data | md5sum");
  }
  std::string md5() {
    return lab::run({"sh", "-c", "md5sum <" + (scratch_ / "files" / "data").string()}, Seconds(60))
        ->output;
  }
};

TEST_F(NetworkTest, GuestTalksToAServerOverItsTapAndSoDoItsClones) {
  const auto source = network("source");
  const auto first = network("cs1");
  const auto second = network("cs2");
  ASSERT_TRUE(source && first && second);
  // Held while it boots, too, and released by its first report.
  auto vm = boot_in(*source, kNoProbes, {"--hold-network"});
  ASSERT_TRUE(vm);
  const Guest guest = vm->guest();
  EXPECT_EQ(guest.get("cat /sys/class/net/eth0/address"), "52:54:00:00:00:01");
  EXPECT_EQ(guest.get("cat /sys/class/net/eth0/mtu /sys/class/net/eth0/carrier"), "1500\n1");
  EXPECT_EQ(download(guest) + "\n", md5());
  // Upwards, in segments that the tap takes whole.
  const auto uploaded = source->upload(kFile, [&] {
    guest.get(std::string("wget -q -O /run/data http://") + HostNetwork::kHost + "/data && nc " +
              HostNetwork::kHost + " 9001 </run/data");
  });
  ASSERT_TRUE(uploaded) << uploaded.error().message();
  EXPECT_EQ(uploaded->size(), kFile);
  EXPECT_TRUE(*uploaded == read_file(scratch_ / "files" / "data")) << "other bytes";
  // Who else wants the tap is told so.
  const auto other =
      lab::run({Lab::get().clonevm, "run", "--kernel", Lab::get().kernel, "--net",
                std::string("tap=") + HostNetwork::kTap + ",netns=" + source->name()},
               Seconds(60));
  ASSERT_TRUE(other);
  EXPECT_EQ(other->status, 1);
  EXPECT_EQ(other->output, "clonevm: net 0: tap vm0: in use by another process\n");

  guest.get(kHook);
  ASSERT_EQ(guest.snapshot(scratch_ / "snapshot", {"--resume"})->status, 0);
  source->captured();
  const std::string names = first->name().substr(0, first->name().size() - 1) + "%d";
  auto restored = Restored::start(scratch_ / "snapshot", scratch_ / "clones", 2,
                                  {"--timeout", "110", "--wait", "safe", "--hold-network", "--net",
                                   std::string("tap=") + HostNetwork::kTap + ",netns=" + names},
                                  {});
  ASSERT_TRUE(restored);
  // While there is no report: none of either clone's packets. Whatever was captured before a status
  // that says "held" left it held.
  std::vector<Captured> left[2];
  const HostNetwork* const networks[2] = {&*first, &*second};
  EXPECT_TRUE(eventually(Seconds(110), [&] {
    bool all_released = true;
    for (int clone = 0; clone < 2; ++clone) {
      const auto more = networks[clone]->captured();
      left[clone].insert(left[clone].end(), more.begin(), more.end());
      const json::object status = status_of(api("clones", clone + 1));
      if (status.empty()) {
        all_released = false;
        continue;
      }
      if (!status.at("hold").as_object().at("held").as_bool()) continue;
      all_released = false;
      EXPECT_TRUE(left[clone].empty()) << "clone " << clone + 1;
    }
    return all_released;
  }));
  ASSERT_TRUE(restored->await_reports(2));
  expect_repaired(*restored);
  std::set<std::string> macs = {"52:54:00:00:00:01"};
  for (int clone = 1; clone <= 2; ++clone) {
    SCOPED_TRACE(clone);
    const json::object& report = restored->reports()[static_cast<std::size_t>(clone - 1)];
    EXPECT_GT(report.at("held_packets").to_number<int>(), 0) << json::serialize(report);
    const json::object status = status_of(api("clones", clone));
    const std::string mac(
        status.at("nets").as_array()[0].as_object().at("mac").as_string().c_str());
    macs.insert(mac);
    auto& captured = left[clone - 1];
    EXPECT_TRUE(eventually(Seconds(30),
                           [&] {
                             const auto more = networks[clone - 1]->captured();
                             captured.insert(captured.end(), more.begin(), more.end());
                             return announced(captured) && numbers(captured).size() > 5;
                           }))
        << "announced: " << announced(captured);
    // Released in order, without a gap between what was parked and what came later.
    const auto stream = numbers(captured);
    for (std::size_t i = 1; i < stream.size(); ++i) EXPECT_EQ(stream[i], stream[i - 1] + 1) << i;
    EXPECT_EQ(download(restored->guest(clone)) + "\n", md5());
    // The link keeps the address that its driver read at its start; a driver that starts anew reads
    // the clone's own.
    EXPECT_EQ(restored->guest(clone).get("cat /sys/class/net/eth0/address"), "52:54:00:00:00:01");
    EXPECT_EQ(restored->guest(clone).get(
                  "cd /sys/bus/virtio/drivers/virtio_net && device=$(echo virtio[0-9]*) && echo "
                  "$device >unbind && echo $device >bind && cat /sys/class/net/eth0/address"),
              mac);
  }
  EXPECT_EQ(macs.size(), 3u) << "two machines have one address";
  // A clone of the machine as it runs, without a file in between.
  const auto forks = network("fork");
  ASSERT_TRUE(forks);
  auto forked = Restored::fork(
      scratch_ / "source" / "api", scratch_ / "fork", 1,
      {"--timeout", "110", "--wait", "safe", "--hold-network", "--net",
       std::string("tap=") + HostNetwork::kTap + ",mac=keep,netns=" + forks->name()});
  ASSERT_TRUE(forked);
  EXPECT_GT(forked->reports()[0].at("held_packets").to_number<int>(), 0);
  EXPECT_EQ(status_of(api("fork", 1)).at("nets").as_array()[0].as_object().at("mac").as_string(),
            "52:54:00:00:00:01");
  EXPECT_EQ(download(forked->guest(1)) + "\n", md5());
  // The source's own traffic went on.
  EXPECT_GT(numbers(source->captured()).size(), 5u);
  EXPECT_EQ(download(guest) + "\n", md5());
  restored.reset();
  forked.reset();
  expect_addresses_by_document(guest);
}

TEST_F(NetworkTest, WithoutAReportTheNetworkStaysHeldAsItWasOrdered) {
  const auto source = network("source");
  const auto held = network("held");
  const auto timed = network("timed");
  const auto free = network("free");
  ASSERT_TRUE(source && held && timed && free);
  auto vm = boot_in(*source, kNoProbes);
  ASSERT_TRUE(vm);
  vm->guest().get("killall -9 clonesafed; while pidof clonesafed; do sleep 0.1; done");
  ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  const auto restore = [&](const std::string& name, const HostNetwork& network,
                           std::vector<std::string> options) {
    for (const std::string& option :
         {std::string("--timeout"), std::string("110"), std::string("--wait"),
          std::string("running"), std::string("--net"),
          std::string("tap=") + HostNetwork::kTap + ",netns=" + network.name()})
      options.push_back(option);
    return Restored::restore(scratch_ / "snapshot", scratch_ / name, 1, options);
  };
  {
    auto restored = restore("held", *held, {"--hold-network"});
    ASSERT_TRUE(restored);
    expect_nothing_while_held(*held, api("held", 1), 100);
  }
  {
    auto restored = restore("timed", *timed, {"--hold-network=15"});
    ASSERT_TRUE(restored);
    expect_nothing_while_held(*timed, api("timed", 1), 5);
    std::vector<Captured> captured;
    EXPECT_TRUE(eventually(Seconds(60), [&] {
      const auto more = timed->captured();
      captured.insert(captured.end(), more.begin(), more.end());
      return numbers(captured).size() > 20;
    }));
    EXPECT_NE(read_file(scratch_ / "timed" / "1" / "clone.log")
                  .find("what is held is released after 15000 ms without a report"),
              std::string::npos);
    EXPECT_FALSE(status_of(api("timed", 1)).at("hold").as_object().at("held").as_bool());
  }
  {
    // The twin: without the hold it sends though nobody made it safe.
    auto restored = restore("free", *free, {});
    ASSERT_TRUE(restored);
    std::vector<Captured> captured;
    EXPECT_TRUE(eventually(Seconds(60), [&] {
      const auto more = free->captured();
      captured.insert(captured.end(), more.begin(), more.end());
      return numbers(captured).size() > 5;
    }));
    EXPECT_TRUE(status_of(api("free", 1)).at("safe").is_null());
  }
}

}  // namespace
}  // namespace clonesafe::lab
