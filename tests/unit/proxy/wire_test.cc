// What a clone's connections of before say on the wire: nothing, whatever state they are in and
// whatever their peers do. The parent, which goes on with them, is played by segments that the test
// makes.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <thread>

#include "proxy/core/tombstones.h"
#include "proxy/service/worker.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"
#include "tests/unit/proxy/wire.h"

namespace clonesafe::proxy {
namespace {

using testing::IsEmpty;

bool after(std::uint32_t one, std::uint32_t other) {
  return static_cast<std::int32_t>(one - other) > 0;
}

int error_of(const UniqueFd& fd) {
  int error = 0;
  socklen_t size = sizeof error;
  EXPECT_EQ(::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size), 0);
  return error;
}

void set(const UniqueFd& fd, int level, int option, int value) {
  ASSERT_EQ(::setsockopt(fd.get(), level, option, &value, sizeof value), 0);
}

// Gone, or on its way there: what a closed socket of before would be.
void reset_when_closed(const UniqueFd& fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

class WireTest : public ProxyTest {
 protected:
  WireTest() { wire_.forget(); }
  ~WireTest() override { wire_.lose(nullptr); }

  // What the guest said on a connection of this port, in words.
  std::vector<std::string> said(std::uint16_t port, std::size_t since) {
    std::vector<std::string> all;
    for (const Segment& one : wire_.since(since)) {
      if (!one.from_guest || one.source != port) continue;
      all.push_back(std::string(one.syn() ? "SYN " : "") + (one.fin() ? "FIN " : "") +
                    (one.rst() ? "RST " : "") + std::to_string(one.payload.size()) + " bytes");
    }
    return all;
  }
  std::vector<std::string> said_until_now(std::uint16_t port, std::size_t since) {
    wire_.mark();
    return said(port, since);
  }

  // The parent goes on: what was lost of its segments comes once more, and then more text.
  void parent_goes_on(std::uint16_t port, const std::string& text) {
    std::uint32_t seq = 0, ack = 0;
    const Segment* last = nullptr;
    const auto seen = wire_.since(0);
    bool begun = false, answered = false;
    for (const Segment& one : seen) {
      if (one.guest_port() != port || one.rst()) continue;
      if (one.from_guest) {
        if (!begun || after(one.next_seq(), seq)) seq = one.next_seq();
        begun = true;
        if (!one.syn()) last = &one;
      } else {
        if (!answered || after(one.next_seq(), ack)) ack = one.next_seq();
        answered = true;
      }
    }
    ASSERT_NE(last, nullptr);
    wire_.lose(nullptr);
    for (const Segment& one : seen) {
      if (one.from_guest && one.source == port && !one.payload.empty())
        wire_.deliver(false, one.packet);
    }
    wire_.deliver(false, next_segment(*last, seq, ack, text));
  }

  Wire& wire_ = Wire::get();
};

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

  Tombstones tombstones_{8};
};

TEST_P(WireSocketTest, PeerMaySayWhatItWants) {
  Connection one = opened();
  send_all(one.guest, "before");
  EXPECT_EQ(receive(one.peer, 6), "before");
  const std::size_t mark = wire_.mark();
  EXPECT_EQ(tombstones_.bury(one.guest.release(), Opener::kThisEnd), Farewell::kSilent);
  send_all(one.peer, "hello");
  // Nobody acknowledges it, so it comes again.
  EXPECT_TRUE(wire_.wait_for(
      [count = 0](const Segment& seen) mutable {
        return !seen.from_guest && seen.payload == "hello" && ++count == 3;
      },
      mark));
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
  if (!drops) return;
  send_all(one.peer, "hello");
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

// A service with TLS to its upstream, which the test is.
class WireServiceTest : public WireTest, public testing::WithParamInterface<int> {
 protected:
  WireServiceTest() { ::signal(SIGPIPE, SIG_IGN); }

  void start() {
    make_certificate(folder_, "server.test");
    auto server = TlsContext::server(
        {.certificate = folder_ / "server.test.pem", .key = folder_ / "server.test.key"});
    ASSERT_TRUE(server);
    server_.emplace(std::move(*server));
    upstream_ = wire_.at_peer([&] { return listen_at_host(Wire::kPeer4, upstream_port_); });
    ServiceConfig config{.name = "test"};
    config.upstream.addresses = {
        parse_address(std::string(Wire::kPeer4) + ":" + std::to_string(upstream_port_)).value()};
    config.upstream.tls = ClientTlsOptions{.ca_file = folder_ / "server.test.pem",
                                           .server_name = "server.test",
                                           .lowest_version = GetParam()};
    config.listen = {parse_address("127.0.0.1:1").value()};  // another port, in truth
    auto parts = ServiceParts::make(config);
    ASSERT_TRUE(parts) << parts.error().message();
    parts_.push_back(std::move(*parts));
    worker_ = std::make_unique<Worker>(parts_);
    std::vector<UniqueFd> sockets;
    sockets.push_back(listen_at_host("0.0.0.0", port_));
    ASSERT_TRUE(worker_->service(0).listen(std::move(sockets)));
    worker_->start();
  }
  struct Session {
    UniqueFd application;
    UniqueFd peer;
    SslPointer tls;
    std::uint16_t port = 0;  // of the proxy
  };
  Session session() {
    Session session{.application = connect_to_host("127.0.0.1", port_)};
    session.peer = accept_from(upstream_);
    session.port = static_cast<std::uint16_t>(peer_port(session.peer));
    session.tls = server_->session().value();
    SSL_set_max_proto_version(session.tls.get(), GetParam());
    SSL_set_fd(session.tls.get(), session.peer.get());
    EXPECT_EQ(SSL_accept(session.tls.get()), 1);
    send_all(session.application, "q");
    EXPECT_EQ(read(session), "q");
    EXPECT_EQ(SSL_write(session.tls.get(), "a", 1), 1);
    EXPECT_EQ(receive(session.application, 1), "a");
    return session;
  }
  static std::string read(const Session& session) {
    std::string text(100, '\0');
    const int count = SSL_read(session.tls.get(), text.data(), static_cast<int>(text.size()));
    text.resize(static_cast<std::size_t>(std::max(count, 0)));
    return text;
  }
  std::size_t clone() {
    clone_this_machine();
    worker_->fence();
    return wire_.mark();
  }

  Folder folder_;
  std::optional<TlsContext> server_;
  UniqueFd upstream_;
  int upstream_port_ = 0;
  std::vector<ServiceParts> parts_;
  int port_ = 0;
  std::unique_ptr<Worker> worker_;
};

TEST_P(WireServiceTest, IdleSession) {
  start();
  const Session one = session();
  const std::size_t mark = wire_.mark();
  clone();
  EXPECT_EQ(wait_for_news(one.application), Seen::kReset);
  EXPECT_EQ(SSL_write(one.tls.get(), "more", 4), 4);
  EXPECT_TRUE(wire_.wait_for(
      [&](const Segment& seen) {
        return !seen.from_guest && seen.destination == one.port && !seen.payload.empty();
      },
      mark));
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  EXPECT_EQ(error_of(one.peer), 0);
  const auto tombstones = worker_->tombstones();
  EXPECT_EQ(tombstones.standing, 1u);
  EXPECT_GE(tombstones.dropped, 1u);
  // The next has a connection of its own.
  const Session next = session();
  EXPECT_NE(next.port, one.port);
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
}

TEST_P(WireServiceTest, DataUnderWayInBothDirections) {
  start();
  const Session one = session();
  std::thread from_application([&] {
    const std::string piece(20'000, 'a');
    while (::send(one.application.get(), piece.data(), piece.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  std::thread from_peer([&] {
    const std::string piece(20'000, 'p');
    while (SSL_write(one.tls.get(), piece.data(), static_cast<int>(piece.size())) > 0) {
    }
  });
  std::thread to_application([&] {
    std::string buffer(20'000, '\0');
    while (::recv(one.application.get(), buffer.data(), buffer.size(), 0) > 0) {
    }
  });
  EXPECT_TRUE(wire_.wait_for([&, size = std::size_t{0}](const Segment& seen) mutable {
    if (!seen.from_guest && seen.destination == one.port) size += seen.payload.size();
    return size > 300'000;
  }));
  const std::size_t mark = clone();
  // The peer, which is not acknowledged, sends again.
  EXPECT_TRUE(wire_.wait_for(
      [&](const Segment& seen) {
        return !seen.from_guest && seen.destination == one.port && !seen.payload.empty();
      },
      mark));
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  EXPECT_EQ(error_of(one.peer), 0);
  // The parent acknowledges what it got, and the peer goes on.
  std::uint32_t sent = 0;
  for (const Segment& seen : wire_.since(0)) {
    if (!seen.from_guest && seen.destination == one.port) sent = std::max(sent, seen.next_seq());
  }
  parent_goes_on(one.port, "");
  EXPECT_TRUE(wire_.wait_for(
      [&](const Segment& seen) {
        return !seen.from_guest && seen.destination == one.port && !seen.rst() &&
               !seen.payload.empty() && !after(sent, seen.seq);
      },
      mark));
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  ::shutdown(one.peer.get(), SHUT_RDWR);
  from_application.join();
  from_peer.join();
  to_application.join();
}

TEST_P(WireServiceTest, HandshakeInProgress) {
  start();
  const UniqueFd application = connect_to_host("127.0.0.1", port_);
  const UniqueFd peer = accept_from(upstream_);
  const auto port = static_cast<std::uint16_t>(peer_port(peer));
  EXPECT_TRUE(wire_.wait_for([&](const Segment& seen) {
    return seen.from_guest && seen.source == port && !seen.payload.empty();
  })) << "a ClientHello";
  const std::size_t mark = clone();
  send_all(peer, "anything");
  EXPECT_THAT(said_until_now(port, mark), IsEmpty());
  EXPECT_EQ(error_of(peer), 0);
  // It is begun anew, by another port.
  const UniqueFd next = accept_from(upstream_);
  EXPECT_NE(peer_port(next), port);
  EXPECT_THAT(said_until_now(port, mark), IsEmpty());
}

TEST_P(WireServiceTest, ConnectionInProgress) {
  start();
  wire_.lose([](const Segment& segment) { return segment.from_guest && segment.syn(); });
  const UniqueFd application = connect_to_host("127.0.0.1", port_);
  Segment first;
  EXPECT_TRUE(wire_.wait_for([&](const Segment& seen) {
    first = seen;
    return seen.from_guest && seen.syn() && seen.destination == upstream_port_;
  }));
  const std::size_t mark = clone();
  wire_.lose(nullptr);
  wire_.deliver(false, first.packet);
  EXPECT_TRUE(wire_.wait_for([&](const Segment& seen) {
    return !seen.from_guest && seen.syn() && seen.destination == first.source;
  })) << "the peer answers";
  EXPECT_THAT(said_until_now(first.source, mark), IsEmpty());
  // The clone's own is by another port.
  EXPECT_TRUE(wire_.wait_for([&](const Segment& seen) {
    return seen.from_guest && seen.syn() && seen.destination == upstream_port_ &&
           seen.source != first.source;
  }));
  EXPECT_THAT(said_until_now(first.source, mark), IsEmpty());
}

// Until the proxy has looked the kernel may say again what it said.
TEST_P(WireServiceTest, WhatIsSaidBeforeTheLookWasSaidBefore) {
  start();
  const Session one = session();
  wire_.lose([](const Segment& segment) { return segment.from_guest; });
  const std::size_t before = wire_.mark();
  send_all(one.application, "a request");
  // And once more.
  EXPECT_TRUE(wire_.wait_for(
      [&, times = 0](const Segment& seen) mutable {
        return seen.from_guest && seen.source == one.port && !seen.payload.empty() && ++times == 2;
      },
      before));
  const std::size_t mark = wire_.mark();
  std::set<std::pair<std::uint32_t, std::string>> said_before;
  for (const Segment& seen : wire_.since(0)) {
    if (seen.from_guest && seen.source == one.port) said_before.emplace(seen.seq, seen.payload);
  }
  clone_this_machine();
  send_all(one.application, "another request");
  while (worker_->tombstones().standing == 0) std::this_thread::yield();
  const std::size_t looked = wire_.mark();
  for (const Segment& seen : wire_.since(mark)) {
    if (!seen.from_guest || seen.source != one.port) continue;
    EXPECT_TRUE(said_before.contains({seen.seq, seen.payload}))
        << "new: " << seen.payload.size() << " bytes";
    EXPECT_FALSE(seen.fin() || seen.rst());
  }
  EXPECT_EQ(SSL_write(one.tls.get(), "more", 4), 4);
  EXPECT_THAT(said_until_now(one.port, looked), IsEmpty());
}

// The goodbye has left and is not acknowledged.
TEST_P(WireServiceTest, GoodbyePending) {
  start();
  const Session one = session();
  wire_.lose([](const Segment& segment) { return segment.from_guest; });
  const std::size_t before = wire_.mark();
  ::shutdown(one.application.get(), SHUT_WR);
  EXPECT_TRUE(wire_.wait_for(
      [&](const Segment& seen) { return seen.from_guest && !seen.payload.empty(); }, before))
      << "close_notify";
  const std::size_t mark = clone();
  EXPECT_EQ(SSL_write(one.tls.get(), "more", 4), 4);
  // What was seen twice of the peer was dropped twice.
  EXPECT_TRUE(wire_.wait_for(
      [&, count = 0](const Segment& seen) mutable {
        return !seen.from_guest && seen.destination == one.port && !seen.payload.empty() &&
               ++count == 3;
      },
      mark));
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  EXPECT_EQ(error_of(one.peer), 0);
}

TEST_P(WireServiceTest, ApplicationOfAnotherMachineHearsNothing) {
  start();
  const UniqueFd application = wire_.at_peer([&] { return connect_to_host(Wire::kGuest4, port_); });
  const UniqueFd peer = accept_from(upstream_);  // whose handshake waits
  const std::size_t mark = clone();
  send_all(application, "hello");
  wire_.mark();
  for (const Segment& seen : wire_.since(mark))
    EXPECT_FALSE(seen.from_guest && seen.destination == own_port(application));
  EXPECT_EQ(error_of(application), 0);
  EXPECT_EQ(worker_->tombstones().standing, 2u);
}

INSTANTIATE_TEST_SUITE_P(Versions, WireServiceTest, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& version) {
                           return version.param == TLS1_2_VERSION ? "Tls12" : "Tls13";
                         });

}  // namespace
}  // namespace clonesafe::proxy
