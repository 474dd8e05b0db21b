// The repair on an interface of the kernel's: one end of a veth pair, in a network namespace of the
// test's own. iproute2 sets it up and says what came of it.
#include "guest_agent/repairs/network.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include <functional>
#include <thread>

#include "guest_agent/network/ip_address.h"
#include "guest_agent/network/netlink.h"
#include "tests/support/child_process.h"
#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kOldMac[] = "52:54:00:00:00:01";
constexpr char kNewMac[] = "52:54:00:00:00:07";

struct Said {
  int status = -1;
  std::string output;
};

Said shell(const std::string& command) {
  Said said;
  FILE* const pipe = ::popen((command + " 2>&1").c_str(), "re");
  if (pipe == nullptr) return said;
  char block[4096];
  for (std::size_t size = 0; (size = ::fread(block, 1, sizeof block, pipe)) > 0;)
    said.output.append(block, size);
  said.status = ::pclose(pipe);
  return said;
}

std::string ip(const std::string& arguments) {
  const Said said = shell("ip " + arguments);
  EXPECT_EQ(said.status, 0) << "ip " << arguments << ": " << said.output;
  return said.output;
}

// Frames that came out of the interface, at the other end of its wire.
class Wire {
 public:
  Wire() : fd_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL))) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(::if_nametoindex("wire"));
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  const std::vector<std::string>& frames() {
    std::string frame(2048, '\0');
    for (;;) {
      sockaddr_ll from{};
      socklen_t size = sizeof from;
      const ssize_t length = ::recvfrom(fd_.get(), frame.data(), frame.size(), 0,
                                        reinterpret_cast<sockaddr*>(&from), &size);
      if (length < 0) return frames_;
      if (from.sll_pkttype != PACKET_OUTGOING)
        frames_.push_back(frame.substr(0, static_cast<std::size_t>(length)));
    }
  }
  // RFC 826, gratuitous: sender's and target's address are one.
  bool announces_ipv4(std::string_view mac, std::string_view address) {
    return std::ranges::any_of(frames(), [&](const std::string& frame) {
      return frame.size() >= 42 && frame.substr(6, 6) == mac && frame.substr(12, 2) == "\x08\x06" &&
             frame.substr(22, 6) == mac && frame.substr(28, 4) == address &&
             frame.substr(38, 4) == address;
    });
  }
  // RFC 4861, 4.4: a neighbour advertisement of this target.
  bool announces_ipv6(std::string_view mac, std::string_view address) {
    return std::ranges::any_of(frames(), [&](const std::string& frame) {
      return frame.size() >= 86 && frame.substr(6, 6) == mac && frame[12] == '\x86' &&
             frame[54] == '\x88' && frame.substr(62, 16) == address && frame.substr(80, 6) == mac;
    });
  }

 private:
  UniqueFd fd_;
  std::vector<std::string> frames_;
};

class NetworkRepairTest : public testing::Test {
 protected:
  NetworkRepairTest() {
    event_.kind = RestoreKind::kClone;
    event_.diversifier = bytes32(5);
    event_.restore.restore_id = id(6);
  }

  // Runs `test` with an interface `guest` as a machine would have it.
  static void with_interface(const std::function<void()>& test) {
    std::thread([&test] {
      if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "SKIPPED: no network namespace";
      const Said made =
          shell("ip link add name guest address " + std::string(kOldMac) +
                " type veth peer name wire && echo 0 >/proc/sys/net/ipv6/conf/guest/accept_dad && "
                "ip link set wire up && ip link set guest up && "
                "ip addr add 10.0.0.2/24 dev guest && ip addr add fd00::2/64 dev guest nodad && "
                "ip route add default via 10.0.0.1 && ip route add 192.168.0.0/16 via 10.0.0.1 && "
                "ip route add fd01::/16 via fd00::1 && "
                "ip neigh add 10.0.0.1 lladdr 52:54:00:00:00:fe nud permanent dev guest && "
                "ip neigh add 10.0.0.9 lladdr 52:54:00:00:00:f9 nud reachable dev guest");
      if (made.status != 0) GTEST_SKIP() << "SKIPPED: no veth here: " << made.output;
      EXPECT_TRUE(support::eventually(
          std::chrono::seconds(20), [] { return ip("-6 addr show dev guest tentative").empty(); }));
      test();
    }).join();
  }
  Repair::Finding repair(const std::string& members) {
    return repair_document(R"({"network": {"guest": {)" + members + "}}}");
  }
  Repair::Finding repair_document(const std::string& document) {
    event_.restore.metadata = document;
    return NetworkRepair(kernel_).run(event_);
  }
  static std::string addresses() { return ip("-o addr show dev guest"); }
  static std::string routes() { return ip("route show dev guest") + ip("-6 route show dev guest"); }
  static std::string mac() { return ip("-o link show dev guest"); }
  // As the kernel does for a router's advertisement; iproute2 6.1 can't say so.
  static void add_as_of_a_router(const std::string& address) {
    constexpr std::uint16_t kAttributeProtocol = 11;
    const std::uint8_t of_router[] = {2};
    NetlinkRequest request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL,
                           ifaddrmsg{.ifa_family = AF_INET6,
                                     .ifa_prefixlen = 64,
                                     .ifa_flags = IFA_F_NODAD,
                                     .ifa_index = ::if_nametoindex("guest")});
    request.add(IFA_LOCAL, parse_ip(address)->bytes());
    request.add(kAttributeProtocol, of_router);
    const auto added = Netlink::open()->order(request, address);
    EXPECT_TRUE(added) << added.error().message();
  }
  // How often its link went down.
  static std::uint32_t times_down() {
    auto netlink = Netlink::open();
    ifinfomsg header{};
    const auto links = netlink->list(NetlinkRequest(RTM_GETLINK, 0, header), "links");
    for (const NetlinkMessage& link : *links) {
      if (link.header<ifinfomsg>().ifi_index == static_cast<int>(::if_nametoindex("guest")))
        return link.number(sizeof header, IFLA_CARRIER_DOWN_COUNT).value_or(1000);
    }
    return 1000;
  }

  FakeKernel kernel_;
  RepairEvent event_;
};

TEST_F(NetworkRepairTest, InterfaceGetsItsAddressesWithTheLinkUpAndKeepsTheRest) {
  with_interface([this] {
    const std::string routes_before = routes();
    const std::uint32_t down_before = times_down();
    const auto finding =
        repair(R"("macaddress": "52:54:00:00:00:07", "addresses": ["10.0.0.7/24", "fd00::7/64"])");
    EXPECT_EQ(finding.outcome, Outcome::kOk) << finding.detail;
    EXPECT_EQ(finding.detail, "guest");
    EXPECT_EQ(times_down(), down_before);
    EXPECT_THAT(mac(), HasSubstr(kNewMac));
    EXPECT_THAT(addresses(), AllOf(HasSubstr(" 10.0.0.7/24 brd 10.0.0.255 scope global guest"),
                                   HasSubstr(" fd00::7/64 "), Not(HasSubstr("10.0.0.2/")),
                                   Not(HasSubstr("fd00::2/"))));
    // What IPv6 derives from the Ethernet address.
    EXPECT_THAT(addresses(), AllOf(HasSubstr(" fe80::5054:ff:fe00:7/64 scope link"),
                                   Not(HasSubstr("fe80::5054:ff:fe00:1/"))));
    std::string expected = routes_before;
    expected.replace(expected.find("src 10.0.0.2"), 12, "src 10.0.0.7");
    EXPECT_EQ(routes(), expected);
    // A neighbour that somebody entered stays; one that was found is forgotten.
    EXPECT_THAT(ip("neigh show dev guest"),
                AllOf(HasSubstr("10.0.0.1 lladdr 52:54:00:00:00:fe PERMANENT"),
                      Not(HasSubstr("10.0.0.9"))));
    for (const char* setting : {"ipv4/conf/guest/arp_notify", "ipv4/conf/guest/promote_secondaries",
                                "ipv6/conf/guest/ndisc_notify"})
      EXPECT_EQ(read_file(std::string("/proc/sys/net/") + setting), "0\n") << setting;
    // Done again, as after a failure, it changes nothing.
    const std::string after = addresses() + routes() + ip("neigh show dev guest");
    EXPECT_EQ(
        repair(R"("macaddress": "52:54:00:00:00:07", "addresses": ["10.0.0.7/24", "fd00::7/64"])")
            .outcome,
        Outcome::kOk);
    EXPECT_EQ(addresses() + routes() + ip("neigh show dev guest"), after);
  });
}

TEST_F(NetworkRepairTest, NewAddressesAreAnnounced) {
  with_interface([this] {
    Wire wire;
    const auto finding =
        repair(R"("macaddress": "52:54:00:00:00:07", "addresses": ["10.0.0.7/24", "fd00::7/64"])");
    ASSERT_EQ(finding.outcome, Outcome::kOk) << finding.detail;
    const std::string_view new_mac("\x52\x54\0\0\0\7", 6);
    const std::string_view old_mac("\x52\x54\0\0\0\1", 6);
    const std::string_view ipv4("\x0a\0\0\7", 4);
    const std::string_view ipv6("\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\7", 16);
    EXPECT_TRUE(support::eventually(
        std::chrono::seconds(20),
        [&] { return wire.announces_ipv4(new_mac, ipv4) && wire.announces_ipv6(new_mac, ipv6); }))
        << wire.frames().size() << " frames";
    EXPECT_FALSE(wire.announces_ipv4(old_mac, ipv4));
    EXPECT_FALSE(wire.announces_ipv6(old_mac, ipv6));
    EXPECT_FALSE(wire.announces_ipv4(new_mac, std::string_view("\x0a\0\0\2", 4)));
  });
}

// The only address goes, and with it, if it went first, all routes of the interface.
TEST_F(NetworkRepairTest, AddressOfAnotherNetworkLeavesTheRoutesThatTheDocumentNames) {
  with_interface([this] {
    const auto finding = repair(
        R"("addresses": ["10.1.0.7/16"],
           "routes": [{"to": "default", "via": "10.1.0.1", "metric": 5},
                      {"to": "192.0.2.0/24"}, {"to": "fd02::/16", "via": "fe80::1"}])");
    EXPECT_EQ(finding.outcome, Outcome::kOk) << finding.detail;
    EXPECT_THAT(mac(), HasSubstr(kOldMac));
    EXPECT_THAT(addresses(), AllOf(HasSubstr(" 10.1.0.7/16 "), HasSubstr("fe80::5054:ff:fe00:1/"),
                                   Not(HasSubstr("10.0.0.2")), Not(HasSubstr("fd00::2"))));
    EXPECT_THAT(routes(), AllOf(HasSubstr("default via 10.1.0.1 proto static metric 5"),
                                HasSubstr("192.0.2.0/24 proto static scope link"),
                                HasSubstr("fd02::/16 via fe80::1 proto static metric 1024"),
                                HasSubstr("10.1.0.0/16 proto kernel"), Not(HasSubstr("10.0.0.1")),
                                Not(HasSubstr("192.168.0.0/16")), Not(HasSubstr("fd01::/16"))));
  });
}

TEST_F(NetworkRepairTest, WhatTheDocumentLeavesOutStays) {
  with_interface([this] {
    const std::string routes_before = routes();
    ASSERT_EQ(repair(R"("macaddress": "52:54:00:00:00:07", "mtu": 1400)").outcome, Outcome::kOk);
    EXPECT_THAT(addresses(), AllOf(HasSubstr("10.0.0.2/24"), HasSubstr("fd00::2/64"),
                                   HasSubstr("fe80::5054:ff:fe00:7/")));
    EXPECT_THAT(mac(), HasSubstr("mtu 1400"));
    ASSERT_EQ(repair(R"("mtu": 1500)").outcome, Outcome::kOk);
    EXPECT_EQ(routes(), routes_before);
    EXPECT_THAT(mac(), HasSubstr(kNewMac));
    ASSERT_EQ(repair(R"("addresses": ["10.0.0.7/24"], "keep_addresses": true)").outcome,
              Outcome::kOk);
    EXPECT_THAT(addresses(),
                AllOf(HasSubstr("10.0.0.2/24"), HasSubstr("10.0.0.7/24"), HasSubstr("fd00::2/64")));
    // Another length is another address.
    const auto other = repair(R"("addresses": ["10.0.0.7/16", "fd00::2/48"])");
    ASSERT_EQ(other.outcome, Outcome::kOk) << other.detail;
    EXPECT_THAT(addresses(), AllOf(HasSubstr("10.0.0.7/16"), HasSubstr("fd00::2/48"),
                                   Not(HasSubstr("10.0.0.7/24")), Not(HasSubstr("fd00::2/64"))));
    ASSERT_EQ(repair(R"("addresses": [])").outcome, Outcome::kOk);
    EXPECT_THAT(addresses(), AllOf(Not(HasSubstr("global")), HasSubstr("scope link")));
  });
}

// The router will say it anew to the interface that has another address now.
TEST_F(NetworkRepairTest, AddressesOfRoutersGoWithTheEthernetAddressThatTheyWereMadeOf) {
  with_interface([this] {
    add_as_of_a_router("2001:db8::5054:ff:fe00:1");
    add_as_of_a_router("2001:db8::5054:ff:fe00:7");
    ip("addr add 2001:db8::99/64 dev guest nodad");
    ASSERT_EQ(repair(R"("mtu": 1400)").outcome, Outcome::kOk);
    EXPECT_THAT(addresses(), HasSubstr("2001:db8::5054:ff:fe00:1/"));
    ASSERT_EQ(repair(R"("macaddress": "52:54:00:00:00:07")").outcome, Outcome::kOk);
    EXPECT_THAT(addresses(),
                AllOf(HasSubstr("2001:db8::5054:ff:fe00:7/"), HasSubstr("2001:db8::99/"),
                      Not(HasSubstr("2001:db8::5054:ff:fe00:1/"))));
  });
}

TEST_F(NetworkRepairTest, InterfaceIsFoundByItsAddressAlsoWhenThatHasChanged) {
  with_interface([this] {
    const std::string document =
        R"({"network": {"lan": {"match": {"macaddress": "52:54:00:00:00:01"},
                                "macaddress": "52:54:00:00:00:07"}}})";
    for (int turn = 0; turn < 2; ++turn) {
      const auto finding = repair_document(document);
      EXPECT_EQ(finding.outcome, Outcome::kOk) << finding.detail;
      EXPECT_THAT(mac(), HasSubstr(kNewMac));
    }
  });
}

// Where the kernel makes IPv6 addresses of a secret, clones would share it.
TEST_F(NetworkRepairTest, StableSecretIsTheClonesOwn) {
  with_interface([this] {
    const std::string settings = "/proc/sys/net/ipv6/conf/guest/";
    ASSERT_TRUE(write_in_place(settings + "stable_secret", "2001:db8::1"));
    ASSERT_TRUE(write_in_place(settings + "addr_gen_mode", "1"));
    ip("-6 addr flush dev guest scope link");
    ASSERT_TRUE(write_in_place(settings + "addr_gen_mode", "2"));
    const std::string before = ip("-o -6 addr show dev guest scope link");
    ASSERT_THAT(before, AllOf(HasSubstr("fe80::"), Not(HasSubstr("fe80::5054:ff:fe00:"))));
    const auto finding = repair(R"("macaddress": "52:54:00:00:00:07")");
    ASSERT_EQ(finding.outcome, Outcome::kOk) << finding.detail;
    EXPECT_EQ(read_file(settings + "addr_gen_mode"), "2\n");
    const std::string after = ip("-o -6 addr show dev guest scope link");
    const auto address = [](const std::string& line) {
      const std::size_t at = line.find("fe80::");
      return at == std::string::npos ? "" : line.substr(at, line.find(' ', at) - at);
    };
    EXPECT_NE(address(after), "");
    EXPECT_NE(address(after), address(before));
    EXPECT_EQ(std::count(after.begin(), after.end(), '\n'), 1) << after;
  });
}

TEST_F(NetworkRepairTest, OnlyACloneIsChanged) {
  with_interface([this] {
    const std::string before = addresses() + routes() + mac();
    for (const RestoreKind kind : {RestoreKind::kBoot, RestoreKind::kResume, RestoreKind::kMove}) {
      event_.kind = kind;
      EXPECT_EQ(repair(R"("macaddress": "52:54:00:00:00:07", "addresses": [])").outcome,
                Outcome::kSkipped);
    }
    event_.kind = RestoreKind::kClone;
    for (const char* document : {"", "worker=1", "{}", R"({"network": {}})"})
      EXPECT_EQ(repair_document(document).outcome, Outcome::kSkipped) << document;
    EXPECT_EQ(addresses() + routes() + mac(), before);
  });
}

TEST_F(NetworkRepairTest, WhatCantBeDoneIsAFailureThatNamesIt) {
  with_interface([this] {
    const std::string before = addresses() + routes() + mac();
    const auto failure = [this](const std::string& document) {
      const auto finding = repair_document(document);
      EXPECT_EQ(finding.outcome, Outcome::kFailed) << document;
      return finding.detail;
    };
    EXPECT_EQ(failure(R"({"network": {"guest": {"mtu": 1400}, "eth7": {"mtu": 1400}}})"),
              "eth7: there is no such interface");
    EXPECT_EQ(failure(R"({"network": {"guest": {"mtu": 1400},
                          "lan": {"match": {"macaddress": "52:54:00:00:00:01"}}}})"),
              "lan: the document names guest twice");
    EXPECT_EQ(failure(R"({"network": {"lan": {"match": {"macaddress": "52:54:00:00:00:33"}}}})"),
              "lan: no interface has the address 52:54:00:00:00:33");
    EXPECT_EQ(failure(R"({"network": {"guest": {"mtu": 1}}})"),
              "the metadata document: network.guest.mtu: is not a whole number from 68 to 65535");
    EXPECT_EQ(failure(R"({"network": {"lo": {"macaddress": "52:54:00:00:00:07"}}})"),
              "lo: is no Ethernet interface, and has no 'macaddress'");
    EXPECT_EQ(addresses() + routes() + mac(), before) << "changed by what is refused";
    EXPECT_THAT(failure(R"({"network": {"guest": {"addresses": ["10.0.0.7/24"],
                            "routes": [{"to": "default", "via": "172.16.0.1"}]}}})"),
                AllOf(testing::StartsWith("guest: route to 0.0.0.0/0"),
                      HasSubstr("Network is unreachable")));
    EXPECT_THAT(ip("neigh show dev guest"), HasSubstr("10.0.0.1 lladdr"));
    // And is done when it can be.
    EXPECT_EQ(repair(R"("addresses": ["10.0.0.7/24"],
                        "routes": [{"to": "default", "via": "10.0.0.1"}])")
                  .outcome,
              Outcome::kOk);
    EXPECT_THAT(routes(), HasSubstr("default via 10.0.0.1 "));
  });
}

}  // namespace
}  // namespace clonesafe::agent
