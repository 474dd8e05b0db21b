// Sockets that are left, in each state of TCP: what the wire hears of them afterwards.
#include <linux/capability.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "proxy/core/tombstones.h"
#include "proxy/service/diverted.h"
#include "tests/unit/proxy/wire_fixture.h"

namespace {

// What is done before the next connection to somebody.
std::function<void()> before_connect;  // NOLINT(cert-err58-cpp)

}  // namespace

// In place of libc's, for all of this program.
extern "C" int connect(int fd, const sockaddr* to, socklen_t size) {
  if (to->sa_family != AF_UNSPEC && before_connect) std::exchange(before_connect, {})();
  return static_cast<int>(::syscall(SYS_connect, fd, to, size));
}

namespace clonesafe::proxy {
namespace {

using testing::IsEmpty;

// Sockets as a proxy leaves them.
class WireSocketTest : public WireTest, public testing::WithParamInterface<bool> {
 protected:
  std::string guest_host() const { return GetParam() ? Wire::kGuest6 : Wire::kGuest4; }
  std::string peer_host() const { return GetParam() ? Wire::kPeer6 : Wire::kPeer4; }

  struct Connection {
    UniqueFd guest;
    UniqueFd peer;
    std::uint16_t port = 0;  // the guest's
  };
  Connection opened() {
    int port = 0;
    const UniqueFd listener = wire_.at_peer([&] { return listen_at_host(peer_host(), port); });
    Connection connection{.guest = connect_to_host(peer_host(), port)};
    connection.peer = accept_from(listener);
    connection.port = own_port(connection.guest);
    wire_.mark();
    return connection;
  }
  Connection accepted(const UniqueFd& listener) {
    const int port = own_port(listener);
    Connection connection{.peer =
                              wire_.at_peer([&] { return connect_to_host(guest_host(), port); })};
    connection.guest = accept_from(listener);
    // The guest's port is the listener's; what tells connections apart is the peer's.
    connection.port = own_port(connection.peer);
    wire_.mark();
    return connection;
  }
  // What a socket of the guest sends that waits for an acknowledgement, if nothing is done to it.
  void wait_until_sent_again(const std::string& text, std::size_t times) {
    EXPECT_TRUE(wire_.wait_for([&, count = std::size_t{0}](const Segment& one) mutable {
      return one.from_guest && one.payload == text && ++count == times;
    }));
  }

  // What nobody acknowledges comes again.
  void wait_until_peer_repeats(const std::string& text, std::size_t mark) {
    EXPECT_TRUE(wire_.wait_for(
        [&, count = 0](const Segment& seen) mutable {
          return !seen.from_guest && seen.payload == text && ++count == 3;
        },
        mark));
  }

  Tombstones tombstones_{8};
};

TEST_P(WireSocketTest, PeerMaySayWhatItWants) {
  Connection one = opened();
  send_all(one.guest, "before");
  EXPECT_EQ(receive(one.peer, 6), "before");
  const std::size_t mark = wire_.mark();
  EXPECT_EQ(tombstones_.bury(one.guest.release(), Opener::kThisEnd), Farewell::kSilent);
  send_all(one.peer, "hello");
  wait_until_peer_repeats("hello", mark);
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  EXPECT_EQ(error_of(one.peer), 0);
  parent_goes_on(one.port, "the parent goes on");
  EXPECT_EQ(receive(one.peer, 18), "the parent goes on");
  ::shutdown(one.peer.get(), SHUT_WR);
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  reset_when_closed(one.peer);
  one.peer.reset();
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  EXPECT_EQ(tombstones_.counts().standing, 1u);
  EXPECT_GE(tombstones_.counts().dropped, 5u);
}

TEST_P(WireSocketTest, OneThatIsLeftHearsNothingUntilItIsBuried) {
  Connection one = opened();
  const std::size_t mark = wire_.mark();
  EXPECT_EQ(tombstones_.leave(one.guest.release(), Opener::kThisEnd), Farewell::kSilent);
  send_all(one.peer, "hello");
  wait_until_peer_repeats("hello", mark);
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  EXPECT_EQ(tombstones_.counts().standing, 0u);
  EXPECT_TRUE(tombstones_.has_left());
  tombstones_.bury_left(1);
  EXPECT_FALSE(tombstones_.has_left());
  EXPECT_EQ(tombstones_.counts().standing, 1u);
  send_all(one.peer, ", again");
  parent_goes_on(one.port, "the parent goes on");
  EXPECT_EQ(receive(one.peer, 18), "the parent goes on");
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
}

TEST_P(WireSocketTest, OnesThatAreLeftEndSilentlyWithTheProcess) {
  Connection one = opened();
  const std::size_t mark = wire_.mark();
  {
    Tombstones ended(8);
    ended.leave(one.guest.release(), Opener::kThisEnd);
  }
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
}

TEST_P(WireSocketTest, AsManyAreLeftAsMayStand) {
  Tombstones few(2);
  std::vector<Connection> all;
  for (std::size_t i = 0; i < 4; ++i) {
    all.push_back(opened());
    few.leave(all.back().guest.release(), Opener::kThisEnd);
  }
  EXPECT_EQ(few.counts().standing, 2u);
  few.bury_left(1);
  EXPECT_TRUE(few.has_left());
  few.bury_left(8);
  EXPECT_FALSE(few.has_left());
  EXPECT_EQ(few.counts().standing, 2u);
}

// The twin: why it takes more than a silent close.
TEST_P(WireSocketTest, WithoutATombstoneThePeerIsReset) {
  Connection one = opened();
  const std::size_t mark = wire_.mark();
  EXPECT_EQ(abandon_socket(one.guest.release()), Farewell::kSilent);
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  send_all(one.peer, "hello");
  EXPECT_EQ(wait_for_news(one.peer), Seen::kReset);
  EXPECT_THAT(said_until_now(one.port, mark), testing::ElementsAre("RST 0 bytes"));
}

TEST_P(WireSocketTest, NothingIsSentAgainOrAcknowledged) {
  Connection one = opened();
  Connection other = opened();  // what would be seen
  wire_.lose([](const Segment& segment) { return segment.from_guest; });
  send_all(other.guest, "control");
  send_all(one.guest, "unacknowledged");
  send_all(one.peer, "unread");
  const std::size_t mark = wire_.mark();
  tombstones_.bury(one.guest.release(), Opener::kThisEnd);
  wait_until_sent_again("control", 4);
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  parent_goes_on(one.port, ", and more");
  EXPECT_EQ(receive(one.peer, 24), "unacknowledged, and more");
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
}

TEST_P(WireSocketTest, NobodyIsAskedWhetherHeIsThere) {
  Connection one = opened();
  Connection other = opened();
  for (const Connection* connection : {&one, &other}) {
    set(connection->guest, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(connection->guest, IPPROTO_TCP, TCP_KEEPIDLE, 1);
  }
  const std::size_t mark = wire_.mark();
  tombstones_.bury(one.guest.release(), Opener::kThisEnd);
  EXPECT_TRUE(wire_.wait_for(
      [&](const Segment& seen) { return seen.from_guest && seen.source == other.port; }, mark))
      << "the other one's question";
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
}

TEST_P(WireSocketTest, NobodyIsConnectedTo) {
  int port = 0;
  const UniqueFd listener = wire_.at_peer([&] { return listen_at_host(peer_host(), port); });
  wire_.lose([](const Segment& segment) { return segment.from_guest && segment.syn(); });
  UniqueFd one = begin_connect(peer_host(), port);
  const std::uint16_t own = own_port(one);
  const UniqueFd other = begin_connect(peer_host(), port);
  const std::uint16_t others = own_port(other);
  const std::size_t mark = wire_.mark();
  tombstones_.bury(one.release(), Opener::kThisEnd);
  EXPECT_TRUE(wire_.wait_for(
      [&](const Segment& seen) { return seen.from_guest && seen.source == others; }, mark))
      << "the other one's second SYN";
  EXPECT_THAT(said_until_now(own, mark), IsEmpty());
  // The first was under way for long.
  wire_.lose(nullptr);
  for (const Segment& seen : wire_.since(0)) {
    if (seen.from_guest && seen.source == own) wire_.deliver(false, seen.packet);
  }
  EXPECT_TRUE(wire_.wait_for(
      [&, count = 0](const Segment& seen) mutable {
        return !seen.from_guest && seen.destination == own && seen.syn() && ++count == 2;
      },
      mark))
      << "the peer answers, and again";
  EXPECT_THAT(said_until_now(own, mark), IsEmpty());
}

TEST_P(WireSocketTest, EndsThatAreUnderWayAreNotSaidAgain) {
  enum State { kFinWait1, kFinWait2, kCloseWait, kLastAck };
  for (const State state : {kFinWait1, kFinWait2, kCloseWait, kLastAck}) {
    SCOPED_TRACE(state);
    Connection one = opened();
    Connection other = opened();
    const std::string control = "control " + std::to_string(state);
    if (state == kCloseWait || state == kLastAck) ::shutdown(one.peer.get(), SHUT_WR);
    wire_.mark();
    if (state != kFinWait2) wire_.lose([](const Segment& segment) { return segment.from_guest; });
    send_all(one.guest, "last");
    if (state != kCloseWait) ::shutdown(one.guest.get(), SHUT_WR);
    wire_.mark();
    wire_.lose([](const Segment& segment) { return segment.from_guest; });
    send_all(other.guest, control);
    if (state == kFinWait1 || state == kFinWait2) send_all(one.peer, "more");
    const std::size_t mark = wire_.mark();
    EXPECT_EQ(tombstones_.bury(one.guest.release(), Opener::kThisEnd), Farewell::kSilent);
    wait_until_sent_again(control, 4);
    EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
    EXPECT_EQ(error_of(one.peer), 0);
    wire_.lose(nullptr);
    reset_when_closed(other.guest);
  }
}

TEST_P(WireSocketTest, WhoConnectedToTheGuestHearsNothingEither) {
  int port = 0;
  const UniqueFd listener = listen_at_host(guest_host(), port);
  Connection one = accepted(listener);
  Connection other = accepted(listener);
  const auto said_to = [&](const Connection& connection, std::size_t since) {
    wire_.mark();
    std::size_t count = 0;
    for (const Segment& seen : wire_.since(since))
      count += seen.from_guest && seen.destination == connection.port ? 1 : 0;
    return count;
  };
  wire_.lose([](const Segment& segment) { return segment.from_guest; });
  send_all(other.guest, "control");
  send_all(one.guest, "unacknowledged");
  send_all(one.peer, "unread");
  const std::size_t mark = wire_.mark();
  EXPECT_EQ(tombstones_.bury(one.guest.release(), Opener::kPeer), Farewell::kSilent);
  send_all(one.peer, "more");
  wait_until_sent_again("control", 4);
  ::shutdown(one.peer.get(), SHUT_WR);
  EXPECT_EQ(said_to(one, mark), 0u);
  EXPECT_EQ(error_of(one.peer), 0);
  EXPECT_GE(tombstones_.counts().dropped, 2u);
  wire_.lose(nullptr);
  // Others may come.
  Connection next = accepted(listener);
  send_all(next.peer, "next");
  EXPECT_EQ(receive(next.guest, 4), "next");
  EXPECT_EQ(said_to(one, mark), 0u);
}

// As tproxy has it, for an application on another machine.
TEST_P(WireSocketTest, WhoConnectedToAnotherMachinesAddressHearsNothingEither) {
  const std::string host = GetParam() ? "fd00:6::9" : "10.6.0.9";
  const std::string ip = GetParam() ? "ip -6 " : "ip ";
  run_script(ip + "rule add iif wire lookup 197\n" + ip + "route add local " + host +
             " dev lo table 197");
  wire_.at_peer([&] {
    run_script(ip + "route add " + host + " dev wire");
    return true;
  });
  int port = 0;
  const UniqueFd listener = listen_at_host(GetParam() ? "::" : "0.0.0.0", port);
  ASSERT_TRUE(make_transparent(listener.get()));
  Connection one{.peer = wire_.at_peer([&] { return connect_to_host(host, port); })};
  one.guest = accept_from(listener);
  send_all(one.guest, "before");
  EXPECT_EQ(receive(one.peer, 6), "before");
  const std::size_t mark = wire_.mark();
  EXPECT_EQ(tombstones_.bury(one.guest.release(), Opener::kPeer), Farewell::kSilent);
  EXPECT_EQ(tombstones_.counts().standing, 1u);
  send_all(one.peer, "hello");
  wire_.mark();
  for (const Segment& seen : wire_.since(mark))
    EXPECT_FALSE(seen.from_guest && seen.source == port);
  EXPECT_GE(tombstones_.counts().dropped, 1u);
  run_script(ip + "rule del iif wire lookup 197");
}

// The moment at which the old connection is gone, and the tombstone is none yet.
TEST_P(WireSocketTest, NothingIsSaidWhileOneTakesThePlaceOfTheOther) {
  int port = 0;
  const UniqueFd listener = listen_at_host(guest_host(), port);
  set(listener, SOL_SOCKET, SO_REUSEPORT, 1);
  Connection one = accepted(listener);
  const std::size_t mark = wire_.mark();
  bool was_there = false;
  before_connect = [&] {
    was_there = true;
    send_all(one.peer, "meanwhile");
    wire_.mark();
  };
  EXPECT_EQ(tombstones_.bury(one.guest.release(), Opener::kPeer), Farewell::kSilent);
  EXPECT_TRUE(was_there);
  send_all(one.peer, "later");
  wire_.mark();
  for (const Segment& seen : wire_.since(mark))
    EXPECT_FALSE(seen.from_guest && seen.destination == one.port);
  EXPECT_EQ(error_of(one.peer), 0);
  // Others may come.
  const Connection next = accepted(listener);
  send_all(next.peer, "next");
  EXPECT_EQ(receive(next.guest, 4), "next");
}

TEST_P(WireSocketTest, OldestTombstonesGoWithoutAWord) {
  Tombstones few(2);
  std::vector<Connection> all;
  for (int i = 0; i < 3; ++i) {
    all.push_back(opened());
    few.bury(all.back().guest.release(), Opener::kThisEnd);
  }
  const std::size_t mark = wire_.mark();
  EXPECT_EQ(few.counts().standing, 2u);
  for (const Connection& one : all) send_all(one.peer, "x");
  EXPECT_THAT(said_until_now(all[0].port, mark), testing::Contains("RST 0 bytes"));
  EXPECT_THAT(said_until_now(all[1].port, mark), IsEmpty());
  EXPECT_THAT(said_until_now(all[2].port, mark), IsEmpty());
  EXPECT_GE(few.counts().dropped, 2u);
  few.look(Tombstones::Clock::now() + Tombstones::kStand - std::chrono::minutes(1));
  EXPECT_EQ(few.counts().standing, 2u);
  const std::uint64_t dropped = few.counts().dropped;
  few.look(Tombstones::Clock::now() + Tombstones::kStand + std::chrono::seconds(1));
  EXPECT_EQ(few.counts().standing, 0u);
  EXPECT_GE(few.counts().dropped, dropped);
  EXPECT_THAT(said_until_now(all[2].port, mark), IsEmpty());
}

// One that lets everything pass.
bool attach_empty_filter(const UniqueFd& fd) {
  sock_filter code = BPF_STMT(BPF_RET | BPF_K, 0xffff);
  const sock_fprog program{.len = 1, .filter = &code};
  return ::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

// This thread has no rights any more.
void drop_all_rights() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
  ASSERT_EQ(::syscall(SYS_capset, &header, none.data()), 0);
}

TEST_P(WireSocketTest, WithoutRightsNothingIsSaidEither) {
  Connection one = opened();
  const std::size_t mark = wire_.mark();
  bool drops = false;
  std::thread([&] {
    drop_all_rights();
    // Some kernels have it take CAP_NET_ADMIN.
    drops = attach_empty_filter(one.peer);
    EXPECT_EQ(tombstones_.bury(one.guest.release(), Opener::kThisEnd), Farewell::kSilent);
  }).join();
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  EXPECT_EQ(error_of(one.peer), 0);
  send_all(one.peer, "hello");
  if (!drops) {
    EXPECT_EQ(wait_for_news(one.peer), Seen::kReset);
    EXPECT_EQ(tombstones_.counts().standing, 0u);
    return;
  }
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  EXPECT_EQ(tombstones_.counts().dropped, 1u);
}

TEST_P(WireSocketTest, WithoutRightsAndBoundToADeviceOnlyTheFirstRouterHearsOfIt) {
  Connection one = opened();
  ASSERT_EQ(::setsockopt(one.guest.get(), SOL_SOCKET, SO_BINDTODEVICE, "wire", 4), 0);
  const std::size_t mark = wire_.mark();
  wire_.lose([](const Segment& segment) { return segment.from_guest && segment.hops == 1; });
  std::thread([&] {
    drop_all_rights();
    EXPECT_EQ(tombstones_.bury(one.guest.release(), Opener::kThisEnd), Farewell::kShortLived);
  }).join();
  EXPECT_THAT(said_until_now(one.port, mark), testing::ElementsAre("RST 0 bytes"));
  EXPECT_EQ(error_of(one.peer), 0);
}

INSTANTIATE_TEST_SUITE_P(Families, WireSocketTest, testing::Bool(),
                         [](const auto& six) { return six.param ? "Ipv6" : "Ipv4"; });

}  // namespace
}  // namespace clonesafe::proxy
