// Upstreams that say nothing, are not who they should be, or move; applications that don't read.
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include <cstring>
#include <fstream>
#include <list>
#include <optional>
#include <thread>

#include "tests/support/child_process.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"
#include "tests/unit/proxy/running_service.h"
#include "tests/unit/proxy/token_language.h"

namespace clonesafe::proxy {
namespace {

class FaultsUpstreamTest : public ProxyTest, public testing::WithParamInterface<Protocol> {
 protected:
  static void SetUpTestSuite() {
    enter_network();
    // Of this namespace: what isn't read soon stands in the way of what comes after it.
    for (const char* file : {"tcp_rmem", "tcp_wmem"})
      std::ofstream(std::string("/proc/sys/net/ipv4/") + file) << "4096 16384 524288\n";
  }
  FaultsUpstreamTest() { upstream_ = listen_on(kFar, upstream_port_); }

  void start(ServiceConfig config, const std::string& host = kFar) {
    start(std::move(config), host, upstream_port_);
  }
  void start(ServiceConfig config, const std::string& host, int port) {
    config.name = "test";
    config.upstream.idle_connections = 0;
    config.protocol = GetParam();
    config.postgres.authentication = PostgresAuthentication::kTrust;
    port_ = 0;
    worker_.start(std::move(config), host, port, listen_on("127.0.0.1", port_));
  }
  TokenPeer application() const { return TokenPeer(connect_to("127.0.0.1", port_)); }
  // Whether it is served, as it should be.
  bool is_served(TokenPeer& application, const std::string& token) const {
    if (!application.say(language_->request(token))) return false;
    const auto answer = language_->answer(application);
    return answer && answer->token == token;
  }
  bool is_served() const {
    TokenPeer peer = application();
    return language_->log_in(peer) && is_served(peer, "r1");
  }
  // Who connects to `listener` is answered.
  std::jthread server(const UniqueFd& listener) const {
    return std::jthread([this, &listener](const std::stop_token& stop) {
      std::list<std::jthread> all;
      while (auto accepted = TokenPeer::accept(listener, stop)) {
        all.emplace_back([this, peer = std::move(*accepted)]() mutable {
          if (!language_->welcome(peer)) return;
          while (const auto token = language_->next(peer)) peer.say(language_->reply(*token));
        });
      }
    });
  }

  const std::unique_ptr<TokenLanguage> language_ = TokenLanguage::of(GetParam());
  UniqueFd upstream_;
  int upstream_port_ = 0, port_ = 0;
  RunningService worker_;
};

// Where somebody logs in.
class FaultsLoginTest : public FaultsUpstreamTest {};
// Where an application may ask before it has its answers. In HTTP the next request waits.
class FaultsReaderTest : public FaultsUpstreamTest {
 protected:
  void read_slowly(std::size_t token_size);
};

std::string name_of(const testing::TestParamInfo<Protocol>& info) {
  switch (info.param) {
    case Protocol::kTcp:
      return "tcp";
    case Protocol::kHttp:
      return "http";
    case Protocol::kRedis:
      return "redis";
    case Protocol::kPostgres:
      return "postgres";
  }
  return {};
}

INSTANTIATE_TEST_SUITE_P(Protocols, FaultsUpstreamTest,
                         testing::Values(Protocol::kTcp, Protocol::kHttp, Protocol::kRedis,
                                         Protocol::kPostgres),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Protocols, FaultsLoginTest, testing::Values(Protocol::kPostgres), name_of);
INSTANTIATE_TEST_SUITE_P(Protocols, FaultsReaderTest,
                         testing::Values(Protocol::kTcp, Protocol::kRedis, Protocol::kPostgres),
                         name_of);

// Packets to it are lost, after a session was there.
TEST_P(FaultsUpstreamTest, WhereNothingIsAcknowledgedItIsLost) {
  ServiceConfig config{.hold = Milliseconds(500)};
  config.upstream.unacknowledged = Milliseconds(300);
  config.upstream.connect_timeout = Milliseconds(200);
  start(std::move(config));
  const auto served = server(upstream_);
  TokenPeer peer = application();
  ASSERT_TRUE(language_->log_in(peer));
  ASSERT_TRUE(is_served(peer, "r1"));
  const auto nft = [](const std::string& rules) {
    auto program = support::ChildProcess::start({.command = {"nft", rules}});
    ASSERT_TRUE(program);
    ASSERT_EQ(program->wait(std::chrono::seconds(20)).value_or(-1), 0);
  };
  nft("table ip hole { chain out { type filter hook output priority 0; tcp dport " +
      std::to_string(upstream_port_) + " drop; }; }");
  ASSERT_TRUE(peer.say(language_->request("w2")));
  const auto answer = language_->answer(peer);
  EXPECT_TRUE(!answer || answer->token.empty()) << answer->token;
  nft("delete table ip hole");
  EXPECT_TRUE(is_served());
  peer.hang_up();
  worker_.wait_for_ends();
}

// It has the request, and loses its power before it answers.
TEST_P(FaultsUpstreamTest, WhoIsGoneWithARequestIsNotWaitedForForEver) {
  ServiceConfig config{.hold = Milliseconds(500)};
  config.upstream.unacknowledged = Milliseconds(300);
  start(std::move(config));
  std::jthread server([this] {
    TokenPeer peer(accept_from(upstream_));
    if (language_->welcome(peer) && language_->next(peer)) peer.vanish();
  });
  TokenPeer peer = application();
  ASSERT_TRUE(language_->log_in(peer));
  ASSERT_TRUE(peer.say(language_->request("w1")));
  server.join();
  const auto answer = language_->answer(peer);
  EXPECT_TRUE(!answer || answer->token.empty()) << answer->token;
}

// One that listens, and never says a word.
TEST_P(FaultsLoginTest, SilentServerIsNotWaitedForForEver) {
  ServiceConfig config{.hold = Milliseconds(300)};
  config.upstream.connect_timeout = Milliseconds(200);
  start(std::move(config));
  TokenPeer peer = application();
  EXPECT_FALSE(language_->log_in(peer));
  while (!sees_nothing(upstream_)) accept_from(upstream_).reset();
  const auto served = server(upstream_);
  EXPECT_TRUE(is_served());
  worker_.wait_for_ends();
}

TEST_P(FaultsUpstreamTest, WhoseCertificateDoesNotHoldGetsNothingUntilItDoes) {
  const Folder folder;
  RunningService server;
  int tls_port = 0;
  // TLS as it is spoken there, in front of the upstream.
  const auto serve_tls = [&](const std::string& name, std::chrono::seconds until) {
    make_certificate(folder, name, until);
    ServiceConfig config{.name = "tls", .protocol = GetParam()};
    config.postgres.authentication = PostgresAuthentication::kTrust;
    config.listen_tls =
        ServerTlsOptions{.certificate = folder / (name + ".pem"), .key = folder / (name + ".key")};
    tls_port = 0;
    server.start(std::move(config), kFar, upstream_port_, listen_on("127.0.0.1", tls_port));
    ServiceConfig ours{.hold = Milliseconds(100)};
    ours.upstream.tls =
        ClientTlsOptions{.ca_file = folder / (name + ".pem"), .server_name = "server.test"};
    start(std::move(ours), "127.0.0.1", tls_port);
  };
  serve_tls("server.test", std::chrono::seconds(-60));
  EXPECT_FALSE(is_served()) << "it has expired";
  serve_tls("other.test", std::chrono::hours(1));
  EXPECT_FALSE(is_served()) << "it is another's";
  EXPECT_TRUE(sees_nothing(upstream_)) << "the request went to who is not the upstream";
  const auto served = this->server(upstream_);
  serve_tls("server.test", std::chrono::hours(1));
  EXPECT_TRUE(is_served());
}

// For this thread, and for those that it starts.
class Hosts {
 public:
  Hosts() {
    say("");
    EXPECT_EQ(::unshare(CLONE_NEWNS), 0) << std::strerror(errno);
    EXPECT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    EXPECT_EQ(::mount((folder_ / "hosts").c_str(), "/etc/hosts", nullptr, MS_BIND, nullptr), 0);
  }
  ~Hosts() { EXPECT_EQ(::umount("/etc/hosts"), 0); }
  Hosts(const Hosts&) = delete;
  Hosts& operator=(const Hosts&) = delete;
  void say(const std::string& line) const { std::ofstream(folder_ / "hosts") << line << "\n"; }

 private:
  Folder folder_;
};

TEST_P(FaultsUpstreamTest, NameThatMovesIsFollowedAndOneThatIsGoneIsWaitedFor) {
  const Hosts hosts;
  const UniqueFd elsewhere = listen_on("127.0.0.1", upstream_port_);
  ServiceConfig config{.hold = Milliseconds(20'000)};
  start(std::move(config), "db.test");
  hosts.say(std::string(kFar) + " db.test");
  {
    const auto served = server(upstream_);
    EXPECT_TRUE(is_served());
  }
  hosts.say("127.0.0.1 db.test");
  {
    const auto served = server(elsewhere);
    EXPECT_TRUE(is_served());
  }
  hosts.say("");
  const auto served = server(upstream_);
  const std::jthread waiting([this] { EXPECT_TRUE(is_served()); });
  while (worker_->census().at(0).sessions == 0) std::this_thread::yield();
  hosts.say(std::string(kFar) + " db.test");
}

// It reads nothing until the upstream's connection was lost under what it asked for. What it reads
// then are the answers in turn, whole, whether they are the server's or the proxy's.
void FaultsReaderTest::read_slowly(std::size_t token_size) {
  constexpr int kAll = 6'000;
  const auto token = [token_size](int number) {
    const std::string text = "w" + std::to_string(number) + ".";
    return text + std::string(token_size - text.size(), 'x');
  };
  start({.hold = Milliseconds(20'000)});
  std::optional<std::jthread> others;
  std::jthread server([&] {
    TokenPeer peer(accept_from(upstream_));
    if (!language_->welcome(peer)) return;
    // Until nobody takes any more.
    peer.hurry(std::chrono::milliseconds(500));
    for (auto next = language_->next(peer); next; next = language_->next(peer)) {
      if (!peer.say(language_->reply(*next))) break;
    }
    others.emplace(this->server(upstream_));
    peer.reset();
  });
  TokenPeer peer = application();
  ASSERT_TRUE(language_->log_in(peer));
  std::jthread writer([&] {
    for (int i = 0; i < kAll && peer.say(language_->request(token(i))); ++i) {
    }
  });
  server.join();
  EXPECT_TRUE(support::eventually(std::chrono::seconds(20),
                                  [this] { return worker_->census().at(0).upstreams.open == 0; }));
  int answered = 0;
  for (int i = 0; i < kAll; ++i) {
    const auto answer = language_->answer(peer);
    if (!answer) break;
    if (answer->token.empty()) continue;
    ASSERT_EQ(answer->token, token(i)) << "another's answer";
    ++answered;
  }
  EXPECT_GT(answered, 0);
  peer.hang_up();
  writer.join();
  worker_.wait_for_ends();
}

// In Redis's form a power of two, so that reads don't end in the middle of one.
TEST_P(FaultsReaderTest, SlowReaderGetsItsAnswersInTurnWhateverWasLost) {
  read_slowly(1015);
}

TEST_P(FaultsReaderTest, SlowReaderGetsItsAnswersInTurnHoweverTheyAreCut) {
  read_slowly(1009);
}

}  // namespace
}  // namespace clonesafe::proxy
