// Services with TLS to their upstreams, in a clone: what the wire hears of the parent's sessions.
#include <openssl/ssl.h>
#include <signal.h>

#include <algorithm>
#include <set>
#include <thread>

#include "tests/unit/proxy/running_service.h"
#include "tests/unit/proxy/wire_fixture.h"

namespace clonesafe::proxy {
namespace {

using testing::IsEmpty;

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
    config.upstream.tls = ClientTlsOptions{.ca_file = folder_ / "server.test.pem",
                                           .server_name = "server.test",
                                           .lowest_version = GetParam()};
    worker_.start(std::move(config), Wire::kPeer4, upstream_port_,
                  listen_at_host("0.0.0.0", port_));
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
  // What the guest sends from here on is lost, on all connections. Gives where that begins.
  std::size_t lose_what_the_guest_says() {
    wire_.lose([](const Segment& segment) { return segment.from_guest; });
    return wire_.mark();
  }
  // So many segments with bytes, on the session's connection.
  void wait_for_bytes(const Session& session, std::size_t since, bool from_guest, int times) {
    EXPECT_TRUE(wire_.wait_for(
        [&, count = 0](const Segment& seen) mutable {
          return seen.from_guest == from_guest && seen.guest_port() == session.port &&
                 !seen.payload.empty() && ++count == times;
        },
        since));
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
  int port_ = 0;
  RunningService worker_;
};

TEST_P(WireServiceTest, IdleSession) {
  start();
  const Session one = session();
  const std::size_t mark = wire_.mark();
  clone();
  EXPECT_EQ(wait_for_news(one.application), Seen::kReset);
  EXPECT_EQ(SSL_write(one.tls.get(), "more", 4), 4);
  wait_for_bytes(one, mark, false, 1);
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
  wait_for_bytes(one, mark, false, 1);
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
  const std::size_t before = lose_what_the_guest_says();
  send_all(one.application, "a request");
  wait_for_bytes(one, before, true, 2);  // and once more
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
  const std::size_t before = lose_what_the_guest_says();
  ::shutdown(one.application.get(), SHUT_WR);
  wait_for_bytes(one, before, true, 1);  // close_notify
  const std::size_t mark = clone();
  EXPECT_EQ(SSL_write(one.tls.get(), "more", 4), 4);
  wait_for_bytes(one, mark, false, 3);  // the first two were dropped
  EXPECT_THAT(said_until_now(one.port, mark), IsEmpty());
  EXPECT_EQ(error_of(one.peer), 0);
}

// A clone of a clone: its tombstones were in the snapshot.
TEST_P(WireServiceTest, TombstonesStandInTheNextCloneToo) {
  start();
  const Session one = session();
  clone();
  const Session two = session();
  const std::size_t mark = wire_.mark();
  clone();
  EXPECT_EQ(worker_->tombstones().standing, 2u);
  const Session three = session();
  for (const Session* old : {&one, &two}) {
    EXPECT_EQ(SSL_write(old->tls.get(), "more", 4), 4);
    wait_for_bytes(*old, mark, false, 2);  // and again
    EXPECT_THAT(said_until_now(old->port, mark), IsEmpty());
    EXPECT_EQ(error_of(old->peer), 0);
    EXPECT_NE(three.port, old->port);
  }
  EXPECT_GE(worker_->tombstones().dropped, 4u);
  // The source of the first snapshot goes on, and that of the second.
  for (const Session* old : {&two, &one}) {
    parent_goes_on(old->port, "");
    EXPECT_THAT(said_until_now(old->port, mark), IsEmpty());
    EXPECT_EQ(error_of(old->peer), 0);
  }
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
