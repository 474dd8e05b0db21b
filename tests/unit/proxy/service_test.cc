// Services as applications and upstreams see them: real sockets, a thread of the proxy's own.
#include "proxy/service/service.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>

#include <cstring>
#include <fstream>

#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"
#include "tests/unit/proxy/running_service.h"

namespace clonesafe::proxy {
namespace {

class ServiceTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { enter_network(); }

  // A proxy before an upstream that the test itself is.
  void start(ServiceConfig config, const std::string& upstream_host = kFar,
             const std::string& listen_host = "127.0.0.1") {
    int upstream_port = 0;
    upstream_ = listen_on(upstream_host, upstream_port);
    config.name = "test";
    worker_.start(std::move(config), upstream_host, upstream_port, listen_on(listen_host, port_));
  }
  UniqueFd application() { return connect_to("127.0.0.1", port_); }
  // An application and its upstream, after a byte in each direction.
  std::pair<UniqueFd, UniqueFd> session() {
    std::pair<UniqueFd, UniqueFd> ends;
    ends.first = application();
    ends.second = accept_from(upstream_);
    send_all(ends.first, "q");
    EXPECT_EQ(receive(ends.second, 1), "q");
    send_all(ends.second, "a");
    EXPECT_EQ(receive(ends.first, 1), "a");
    return ends;
  }
  void clone() {
    clone_this_machine();
    worker_->fence();
  }

  UniqueFd upstream_;
  int port_ = 0;
  RunningService worker_;
};

TEST_F(ServiceTest, CarriesBytesBothWaysAndTheirEnds) {
  start({});
  const auto [application, upstream] = session();
  const std::string large(300'000, 'x');
  std::string got;
  std::thread reader([&] { got = receive(upstream, large.size()); });
  send_all(application, large);
  reader.join();
  EXPECT_TRUE(got == large);
  ::shutdown(application.get(), SHUT_WR);
  EXPECT_EQ(wait_for_news(upstream), Seen::kEnd);
  send_all(upstream, "the last");
  EXPECT_EQ(receive(application, 8), "the last");
  ::shutdown(upstream.get(), SHUT_WR);
  EXPECT_EQ(wait_for_news(application), Seen::kEnd);
}

TEST_F(ServiceTest, CloneLeavesTheParentsConnectionWithoutAWord) {
  start({});
  const auto [application, upstream] = session();
  clone();
  EXPECT_EQ(wait_for_news(application), Seen::kReset);
  EXPECT_TRUE(sees_nothing(upstream)) << "the parent's peer was told";
  // What comes after it has a connection of its own, by another port.
  const UniqueFd next = this->application();
  const UniqueFd fresh = accept_from(upstream_);
  EXPECT_NE(peer_port(fresh), peer_port(upstream));
  send_all(next, "q");
  EXPECT_EQ(receive(fresh, 1), "q");
  EXPECT_TRUE(sees_nothing(upstream));
}

// However many there are: whoever is told that it is over may let packets out.
TEST_F(ServiceTest, FenceHasLeftAllConnectionsWhenItReturns) {
  start({});
  std::vector<std::pair<UniqueFd, UniqueFd>> all;
  for (int i = 0; i < 150; ++i) all.push_back(session());
  clone();
  EXPECT_EQ(worker_->tombstones().standing, all.size());
}

TEST_F(ServiceTest, ApplicationThatIsKeptGoesOnWithAnotherConnection) {
  start({.on_clone = OnClone::kReopen});
  const auto [application, upstream] = session();
  clone();
  EXPECT_TRUE(sees_nothing(application));
  send_all(application, "more");
  const UniqueFd fresh = accept_from(upstream_);
  EXPECT_EQ(receive(fresh, 4), "more");
  send_all(fresh, "yes");
  EXPECT_EQ(receive(application, 3), "yes");
  EXPECT_TRUE(sees_nothing(upstream));
  EXPECT_NE(peer_port(fresh), peer_port(upstream));
}

// Without the agent's news: whoever uses the connection sees for itself.
TEST_F(ServiceTest, FirstByteAfterACloneIsNotSentToTheParentsPeer) {
  start({.on_clone = OnClone::kReopen});
  const auto [application, upstream] = session();
  clone_this_machine();
  send_all(application, "more");
  const UniqueFd fresh = accept_from(upstream_);
  EXPECT_EQ(receive(fresh, 4), "more");
  EXPECT_TRUE(sees_nothing(upstream));
}

// Whether they were sent is not known.
TEST_F(ServiceTest, BytesThatMayHaveBeenSentAreNotLeftOut) {
  start({.on_clone = OnClone::kReopen});
  const auto [application, upstream] = session();
  const std::string many(std::size_t{1} << 20, 'x');
  for (bool waits = false; !waits;) {
    while (::send(application.get(), many.data(), many.size(), MSG_DONTWAIT) > 0) {
    }
    const auto census = worker_->census().at(0);
    waits = census.applications.read_bytes > census.upstreams.written_bytes;
  }
  clone();
  EXPECT_EQ(wait_for_news(application), Seen::kReset);
  EXPECT_TRUE(sees_nothing(upstream_)) << "it went on without them";
}

TEST_F(ServiceTest, SourceAfterItsSnapshotKeepsItsConnections) {
  start({});
  const auto [application, upstream] = session();
  resume_this_machine();
  worker_->fence();
  send_all(application, "on");
  EXPECT_EQ(receive(upstream, 2), "on");
}

// Both ends are in this machine, and were cloned together.
TEST_F(ServiceTest, CloneKeepsAConnectionInsideTheMachine) {
  start({}, "127.0.0.1");
  const auto [application, upstream] = session();
  clone();
  send_all(application, "on");
  EXPECT_EQ(receive(upstream, 2), "on");
}

TEST_F(ServiceTest, ApplicationFromAnotherMachineIsLeftWithoutAWordToo) {
  start({}, kFar, kFar);
  const UniqueFd far = connect_to(kFar, port_);  // its own address is kFar, too
  const UniqueFd upstream = accept_from(upstream_);
  send_all(far, "q");
  EXPECT_EQ(receive(upstream, 1), "q");
  clone();
  clone_this_machine();
  worker_->fence();
  EXPECT_TRUE(sees_nothing(far));
  EXPECT_TRUE(sees_nothing(upstream));
}

// It waits to be accepted when the machine is cloned: the parent has it too.
TEST_F(ServiceTest, ApplicationFromAnotherMachineThatWaitsIsLeftWithoutAWord) {
  int upstream_port = 0;
  upstream_ = listen_on(kFar, upstream_port);
  UniqueFd listener = listen_on(kFar, port_);
  worker_.prepare({.name = "test"}, kFar, upstream_port, std::move(listener));
  const UniqueFd far = connect_to(kFar, port_);
  send_all(far, "q");
  clone_this_machine();
  worker_->start();
  worker_->fence();
  EXPECT_EQ(worker_->tombstones().standing, 1u);
  EXPECT_TRUE(sees_nothing(far));
  EXPECT_TRUE(sees_nothing(upstream_)) << "it was served";
  // Who comes now is this clone's.
  const UniqueFd next = connect_to(kFar, port_);
  const UniqueFd upstream = accept_from(upstream_);
  send_all(next, "q");
  EXPECT_EQ(receive(upstream, 1), "q");
  EXPECT_TRUE(sees_nothing(far));
}

// Where the upstream is may have changed since the snapshot.
TEST_F(ServiceTest, NameOfTheUpstreamIsLookedUpAnewInAClone) {
  const Folder folder;
  const auto say = [&](const std::string& address) {
    std::ofstream(folder / "hosts") << address << " db.test\n";
  };
  say(kFar);
  // For this thread, and for those that it starts.
  ASSERT_EQ(::unshare(CLONE_NEWNS), 0) << std::strerror(errno);
  ASSERT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(::mount((folder / "hosts").c_str(), "/etc/hosts", nullptr, MS_BIND, nullptr), 0);
  int port = 0;
  upstream_ = listen_on(kFar, port);
  const UniqueFd elsewhere = listen_on("127.0.0.1", port);
  worker_.start({.name = "test", .on_clone = OnClone::kReopen}, "db.test", port,
                listen_on("127.0.0.1", port_));
  const auto [application, upstream] = session();
  say("127.0.0.1");
  send_all(application, "on");
  EXPECT_EQ(receive(upstream, 2), "on");
  clone();
  send_all(application, "more");
  EXPECT_EQ(receive(accept_from(elsewhere), 4), "more");
  EXPECT_TRUE(sees_nothing(upstream));
  EXPECT_TRUE(sees_nothing(upstream_));
  EXPECT_EQ(::umount("/etc/hosts"), 0);
}

TEST_F(ServiceTest, ApplicationIsResetWhenNoUpstreamIsThere) {
  int port = 0;
  listen_on(kFar, port).reset();
  worker_.start({.name = "test", .hold = Milliseconds(200)}, kFar, port,
                listen_on("127.0.0.1", port_));
  EXPECT_EQ(wait_for_news(application()), Seen::kReset);
}

TEST_F(ServiceTest, ApplicationWaitsForAnUpstreamThatComes) {
  int port = 0;
  listen_on(kFar, port).reset();
  worker_.start({.name = "test", .hold = Milliseconds(20'000)}, kFar, port,
                listen_on("127.0.0.1", port_));
  const UniqueFd application = this->application();
  send_all(application, "early");
  upstream_ = listen_on(kFar, port);
  EXPECT_EQ(receive(accept_from(upstream_), 5), "early");
}

TEST_F(ServiceTest, IdleSessionEnds) {
  start({.idle = Milliseconds(150)});
  const auto [application, upstream] = session();
  EXPECT_NE(wait_for_news(application), Seen::kBytes);
}

TEST_F(ServiceTest, ThereAreSoManySessionsAndNoMore) {
  start({.max_sessions = 1});
  const auto first = session();
  const UniqueFd second = application();
  EXPECT_NE(wait_for_news(second), Seen::kBytes);
  send_all(first.first, "on");
  EXPECT_EQ(receive(first.second, 2), "on");
}

TEST_F(ServiceTest, HandshakesAreCountedAsSessions) {
  const Folder folder;
  make_certificate(folder, "db.test");
  start({.listen_tls =
             ServerTlsOptions{.certificate = folder / "db.test.pem", .key = folder / "db.test.key"},
         .max_sessions = 1});
  const UniqueFd first = application();
  const UniqueFd second = application();
  EXPECT_NE(wait_for_news(second), Seen::kBytes);
  EXPECT_TRUE(sees_nothing(first));
}

// The socket of this process at the other end.
int other_end(const UniqueFd& fd) {
  const auto ends = [](int socket, auto ask) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    const bool known = ask(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0;
    return known && address.sin_family == AF_INET ? ntohs(address.sin_port) : 0;
  };
  const int near = ends(fd.get(), ::getsockname), far = ends(fd.get(), ::getpeername);
  for (int other = 0; other < 1024; ++other) {
    if (ends(other, ::getpeername) == near && ends(other, ::getsockname) == far) return other;
  }
  ADD_FAILURE() << "none";
  return -1;
}

// A peer that is gone without a word would never be noticed by who only waits.
TEST_F(ServiceTest, PeersOnBothSidesAreAskedWhetherTheyAreThere) {
  start({});
  const auto [application, upstream] = session();
  for (const UniqueFd* end : {&application, &upstream}) {
    int on = 0;
    socklen_t size = sizeof on;
    EXPECT_EQ(::getsockopt(other_end(*end), SOL_SOCKET, SO_KEEPALIVE, &on, &size), 0);
    EXPECT_EQ(on, 1);
  }
}

// TLS on both sides, through two services one behind the other.
TEST_F(ServiceTest, OriginatesAndTerminatesTls) {
  const Folder folder;
  make_certificate(folder, "db.test");
  start({.listen_tls = ServerTlsOptions{.certificate = folder / "db.test.pem",
                                        .key = folder / "db.test.key"}});
  ServiceConfig config{.name = "outer"};
  config.upstream.tls =
      ClientTlsOptions{.ca_file = folder / "db.test.pem", .server_name = "db.test"};
  int port = 0;
  RunningService outer;
  outer.start(std::move(config), "127.0.0.1", port_, listen_on("127.0.0.1", port));
  const UniqueFd application = connect_to("127.0.0.1", port);
  const std::string large(200'000, 'y');
  std::thread writer([&] { send_all(application, large); });
  const UniqueFd upstream = accept_from(upstream_);
  EXPECT_TRUE(receive(upstream, large.size()) == large);
  writer.join();
  std::thread back([&] { send_all(upstream, large); });
  EXPECT_TRUE(receive(application, large.size()) == large);
  back.join();
}

TEST_F(ServiceTest, RefusesACertificateOfAnotherName) {
  const Folder folder;
  make_certificate(folder, "db.test");
  start({.listen_tls = ServerTlsOptions{.certificate = folder / "db.test.pem",
                                        .key = folder / "db.test.key"}});
  UpstreamConfig config;
  config.addresses = {parse_address("127.0.0.1:" + std::to_string(port_)).value()};
  const auto context =
      TlsContext::client({.ca_file = folder / "db.test.pem", .server_name = "other.test"}).value();
  Upstream wrong(loop_, config, &context);
  const auto connected = run(wrong.connect({}));
  ASSERT_FALSE(connected);
  EXPECT_THAT(connected.error().message(), testing::HasSubstr("certificate: "));
}

}  // namespace
}  // namespace clonesafe::proxy
