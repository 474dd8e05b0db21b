// Parent and clones behind one NAT: what is said on an old connection in the guest would be said on
// the parent's outside.
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "tests/support/child_process.h"
#include "tests/unit/proxy/running_service.h"
#include "tests/unit/proxy/wire_fixture.h"

namespace clonesafe::proxy {
namespace {

using testing::IsEmpty;

// The peers' namespace becomes a router that masquerades; servers are in a third one, behind it.
class WireNatTest : public WireTest {
 protected:
  static constexpr const char* kOutside = "10.7.0.2";

  WireNatTest() {
    static support::ChildProcess outside = set_up();
    std::thread([&] {
      const UniqueFd space(::open(space_of(outside.pid()).c_str(), O_RDONLY | O_CLOEXEC));
      ASSERT_EQ(::setns(space.get(), CLONE_NEWNET), 0);
      upstream_ = listen_at_host(kOutside, upstream_port_);
    }).join();
    worker_.start({.name = "test"}, kOutside, upstream_port_, listen_at_host("0.0.0.0", port_));
  }

  struct Session {
    UniqueFd application;
    UniqueFd peer;
    std::uint16_t port = 0;  // of the proxy, in the guest
  };
  Session session() {
    Session session{.application = connect_to_host("127.0.0.1", port_)};
    const std::size_t mark = wire_.mark();
    session.peer = accept_from(upstream_);
    send_all(session.application, "q");
    EXPECT_EQ(receive(session.peer, 1), "q");
    EXPECT_TRUE(wire_.wait_for(
        [&](const Segment& seen) {
          if (seen.from_guest && seen.payload == "q") session.port = seen.source;
          return session.port != 0;
        },
        mark));
    return session;
  }
  UniqueFd upstream_;
  int upstream_port_ = 0, port_ = 0;
  RunningService worker_;

 private:
  static std::string space_of(pid_t process) {
    return "/proc/" + std::to_string(process) + "/ns/net";
  }
  static support::ChildProcess set_up() {
    auto outside = support::ChildProcess::start({.command = {"sleep", "infinity"}, .in_child = [] {
                                                   if (::unshare(CLONE_NEWNET) != 0) ::_exit(126);
                                                 }});
    EXPECT_TRUE(outside);
    const auto ours = std::filesystem::read_symlink("/proc/thread-self/ns/net");
    EXPECT_TRUE(support::eventually(std::chrono::seconds(20), [&] {
      return std::filesystem::read_symlink(space_of(outside->pid())) != ours;
    }));
    const std::string pid = std::to_string(outside->pid());
    Wire::get().at_peer([&] {
      run_script(
          "ip link add out type veth peer name in netns " + pid +
          "\nip address add 10.7.0.1/24 dev out\nip link set out up\n"
          "nsenter -t " +
          pid +
          " -n ip address add 10.7.0.2/24 dev in\n"
          "nsenter -t " +
          pid +
          " -n ip link set in up\n"
          "echo 1 > /proc/sys/net/ipv4/ip_forward\n"
          "nft 'add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; "
          "}; "
          "add rule ip nat out oifname out masquerade'");
      return true;
    });
    run_script("ip route add 10.7.0.0/24 via " + std::string(Wire::kPeer4));
    return std::move(*outside);
  }
};

TEST_F(WireNatTest, NothingLeavesOnAnOldConnection) {
  const Session one = session();
  clone_this_machine();
  worker_->fence();
  const std::size_t mark = wire_.mark();
  send_all(one.peer, "to whoever it is");
  // Nobody acknowledges it, so it comes again, through the NAT.
  EXPECT_TRUE(wire_.wait_for(
      [&, count = 0](const Segment& seen) mutable {
        return !seen.from_guest && seen.destination == one.port && !seen.payload.empty() &&
               ++count == 3;
      },
      mark));
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  EXPECT_EQ(error_of(one.peer), 0);
  // The clone's own connection is another one outside, too.
  const Session next = session();
  EXPECT_NE(next.port, one.port);
  EXPECT_NE(peer_port(next.peer), peer_port(one.peer));
  // What the parent says goes through the same NAT, and arrives.
  parent_goes_on(one.port, "the parent goes on");
  EXPECT_EQ(receive(one.peer, 18), "the parent goes on");
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  EXPECT_EQ(error_of(one.peer), 0);
}

// The second clone has the same tombstones, and its kernel would choose the same ports.
TEST_F(WireNatTest, ClonesOfOneParentHavePortsOfTheirOwn) {
  constexpr std::uint16_t kFirst = 49'152;
  // What the kernel chooses is below that.
  std::ofstream("/proc/sys/net/ipv4/ip_local_port_range") << "32768 " << kFirst - 1;
  const Session parents = session();
  std::set<int> outside = {peer_port(parents.peer)};
  std::set<std::uint16_t> inside = {parents.port};
  for (int i = 0; i < 3; ++i) {
    clone_this_machine();
    worker_->fence();
    const Session own = session();
    EXPECT_GE(own.port, kFirst);
    EXPECT_TRUE(outside.insert(peer_port(own.peer)).second);
    EXPECT_TRUE(inside.insert(own.port).second);
  }
  EXPECT_EQ(error_of(parents.peer), 0);
}

}  // namespace
}  // namespace clonesafe::proxy
