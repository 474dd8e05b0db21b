// Services that are transparent, with the rules that are shipped: applications connect to their
// upstreams' own address.
#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "proxy/service/diverted.h"
#include "tests/support/child_process.h"
#include "tests/unit/proxy/captured_log.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/nftables.h"
#include "tests/unit/proxy/postgres_server.h"
#include "tests/unit/proxy/proxy_fixture.h"
#include "tests/unit/proxy/running_service.h"

namespace clonesafe::proxy {
namespace {

using testing::HasSubstr;

constexpr std::uint32_t kMark = 0xc5;

// A program of this machine that is told lines, one after the other.
class Told {
 public:
  // `command` ends with what its standard input shall be.
  explicit Told(const std::string& command) {
    EXPECT_EQ(::mkfifo((folder_ / "lines").c_str(), 0600), 0);
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    output_.reset(ends[0]);
    const UniqueFd output(ends[1]);
    auto program = support::ChildProcess::start(
        {.command = {"sh", "-c", "exec " + command + " < " + (folder_ / "lines")},
         .output = output.get()});
    EXPECT_TRUE(program);
    program_.emplace(std::move(*program));
    lines_.reset(::open((folder_ / "lines").c_str(), O_WRONLY | O_CLOEXEC));
  }
  // The line that it answers with.
  std::string ask(const std::string& line) {
    const std::string ended = line + "\n";
    EXPECT_EQ(::write(lines_.get(), ended.data(), ended.size()),
              static_cast<ssize_t>(ended.size()));
    std::string answer;
    for (char byte = 0; ::read(output_.get(), &byte, 1) == 1 && byte != '\n';) answer += byte;
    return answer;
  }

 private:
  Folder folder_;
  UniqueFd lines_, output_;
  std::optional<support::ChildProcess> program_;
};

class TransparentTest : public ProxyTest, public testing::WithParamInterface<Transparent> {
 protected:
  static void SetUpTestSuite() { enter_network(); }
  TransparentTest() { upstream_ = listen_on(kFar, upstream_port_); }
  ~TransparentTest() override {
    if (installed_) remove_rules(GetParam());
  }

  // A service of this machine, and rules that bring to it what is for these ports of kFar.
  void start(ServiceConfig config, std::vector<int> ports, std::uint32_t mark_of_rules = kMark) {
    if (ports.empty()) ports = {upstream_port_};
    config.name = "test";
    config.transparent = GetParam();
    config.upstream.mark = kMark;
    if (config.destinations.empty())
      config.destinations = {Network::parse(kFar + std::string("/32")).value()};
    UniqueFd listener = listen_on("127.0.0.1", port_);
    config.listen = {parse_address("127.0.0.1:" + std::to_string(port_)).value()};
    if (GetParam() == Transparent::kTproxy) {
      const auto made = make_transparent(listener.get());
      ASSERT_TRUE(made) << made.error().message();
    }
    worker_.serve(std::move(config), std::move(listener));
    Rules rules{.kind = GetParam(), .networks = kFar, .ports = {}, .mark = mark_of_rules};
    for (const int port : ports) rules.ports.push_back({.port = port, .listener = port_});
    install(rules);
    installed_ = true;
  }
  void clone() {
    clone_this_machine();
    worker_->fence();
  }
  ServiceCounts counts() { return worker_->census().at(0).counts; }

  UniqueFd upstream_;
  int upstream_port_ = 0, port_ = 0;
  bool installed_ = false;
  RunningService worker_;
};

TEST_P(TransparentTest, ConnectionComesToWhereItWasMeantToGo) {
  int other_port = 0;
  const UniqueFd other = listen_on(kFar, other_port);
  start({}, {upstream_port_, other_port});
  const UniqueFd one = connect_to(kFar, upstream_port_);
  const UniqueFd two = connect_to(kFar, other_port);
  // It is for the application as if it had reached its upstream itself.
  EXPECT_EQ(peer_port(one), upstream_port_);
  const UniqueFd at_one = accept_from(upstream_);
  const UniqueFd at_two = accept_from(other);
  send_all(one, "to one");
  send_all(two, "to two");
  EXPECT_EQ(receive(at_one, 6), "to one");
  EXPECT_EQ(receive(at_two, 6), "to two");
  send_all(at_one, "from one");
  EXPECT_EQ(receive(one, 8), "from one");
  EXPECT_EQ(counts().accepted, 2u);
}

// Its address is no loopback address, and it is in this machine.
TEST_P(TransparentTest, ApplicationIsKeptInACloneAndComesToTheSameUpstream) {
  start({.on_clone = OnClone::kReopen}, {});
  const UniqueFd application = connect_to(kFar, upstream_port_);
  const UniqueFd upstream = accept_from(upstream_);
  send_all(application, "q");
  EXPECT_EQ(receive(upstream, 1), "q");
  send_all(upstream, "a");
  EXPECT_EQ(receive(application, 1), "a");
  clone();
  EXPECT_TRUE(sees_nothing(application));
  send_all(application, "more");
  const UniqueFd fresh = accept_from(upstream_);
  EXPECT_EQ(receive(fresh, 4), "more");
  EXPECT_NE(peer_port(fresh), peer_port(upstream));
  EXPECT_TRUE(sees_nothing(upstream));
  EXPECT_EQ(counts().reopened, 1u);
}

TEST_P(TransparentTest, DestinationThatIsNotAllowedIsRefused) {
  const CapturedLog log;
  start({.destinations = {Network::parse("10.9.0.2").value()}}, {});
  EXPECT_NE(wait_for_news(connect_to(kFar, upstream_port_)), Seen::kBytes);
  worker_.wait_for_ends();
  EXPECT_TRUE(sees_nothing(upstream_));
  EXPECT_THAT(log.text(), HasSubstr("its destination 10.9.0.1:" + std::to_string(upstream_port_) +
                                    " is none of 'destinations'"));
}

// It would be the proxy's own client, which connects to itself.
TEST_P(TransparentTest, WhoConnectsToTheProxyItselfIsRefused) {
  const CapturedLog log;
  start({.destinations = {Network::parse("0.0.0.0/0").value()}}, {});
  EXPECT_NE(wait_for_news(connect_to("127.0.0.1", port_)), Seen::kBytes);
  worker_.wait_for_ends();
  EXPECT_EQ(counts().accepted, 1u);
  EXPECT_THAT(log.text(), HasSubstr("its destination is the proxy itself"));
}

// Rules that know another mark.
TEST_P(TransparentTest, ConnectionOfItsOwnThatComesBackIsRefused) {
  const CapturedLog log;
  start({}, {}, kMark + 1);
  EXPECT_NE(wait_for_news(connect_to(kFar, upstream_port_)), Seen::kBytes);
  worker_.wait_for_ends();
  EXPECT_EQ(counts().accepted, 2u) << "the application's, and the proxy's own";
  EXPECT_TRUE(sees_nothing(upstream_));
  EXPECT_THAT(log.text(), HasSubstr("it is the proxy's own connection to 10.9.0.1:"));
}

// What its certificate has to bear is the configured name, whatever the address.
TEST_P(TransparentTest, TlsIsOriginatedWithTheConfiguredName) {
  const Folder folder;
  make_certificate(folder, "db.test");
  ServiceConfig config;
  config.upstream.tls =
      ClientTlsOptions{.ca_file = folder / "db.test.pem", .server_name = "db.test"};
  start(std::move(config), {});
  const auto server =
      TlsContext::server({.certificate = folder / "db.test.pem", .key = folder / "db.test.key"});
  ASSERT_TRUE(server);
  const UniqueFd application = connect_to(kFar, upstream_port_);
  const UniqueFd upstream = accept_from(upstream_);
  const SslPointer tls = server->session().value();
  SSL_set_fd(tls.get(), upstream.get());
  ASSERT_EQ(SSL_accept(tls.get()), 1);
  EXPECT_STREQ(SSL_get_servername(tls.get(), TLSEXT_NAMETYPE_host_name), "db.test");
  EXPECT_EQ(SSL_write(tls.get(), "hello", 5), 5);
  EXPECT_EQ(receive(application, 5), "hello");
}

TEST_P(TransparentTest, UpstreamIsToldWhereItWasMeantToGo) {
  ServiceConfig config;
  config.upstream.send_proxy_protocol = 1;
  start(std::move(config), {});
  const UniqueFd application = connect_to(kFar, upstream_port_);
  const UniqueFd upstream = accept_from(upstream_);
  std::string line;
  while (!line.ends_with("\n")) {
    const std::string byte = receive(upstream, 1);
    if (byte.empty()) break;
    line += byte;
  }
  EXPECT_THAT(line, testing::MatchesRegex("PROXY TCP4 10.9.0.1 10.9.0.1 [0-9]+ " +
                                          std::to_string(upstream_port_) + "\r\n"));
}

TEST_P(TransparentTest, RedisCliGoesOnInAClone) {
  const Folder folder;
  const std::string port = std::to_string(upstream_port_);
  upstream_.reset();
  auto server = support::ChildProcess::start(
      {.command = {"redis-server", "--bind", kFar, "--port", port, "--save", "", "--dir",
                   folder / "", "--logfile", folder / "log", "--protected-mode", "no"}});
  ASSERT_TRUE(server);
  ASSERT_TRUE(support::eventually(std::chrono::seconds(20), [&] {
    std::ifstream log(folder / "log");
    return std::string(std::istreambuf_iterator<char>(log), {}).contains("Ready to accept");
  }));
  start({.protocol = Protocol::kRedis}, {});
  Told cli("redis-cli -h " + std::string(kFar) + " -p " + port);
  EXPECT_EQ(cli.ask("SELECT 3"), "OK");
  EXPECT_EQ(cli.ask("SET key before"), "OK");
  const std::string parents = cli.ask("CLIENT ID");
  clone();
  EXPECT_EQ(cli.ask("GET key"), "before");
  EXPECT_NE(cli.ask("CLIENT ID"), parents);
}

TEST_P(TransparentTest, PsqlGoesOnInAClone) {
  PostgresServer server;
  start({.protocol = Protocol::kPostgres, .postgres = PostgresProxy::trusting()}, {server.port()});
  Told psql("psql -X -A -t -q -h " + std::string(kFar) + " -p " + std::to_string(server.port()) +
            " -U postgres postgres");
  EXPECT_EQ(psql.ask("SET work_mem = '123kB'; SHOW work_mem;"), "123kB");
  const std::string parents = psql.ask("SELECT pg_backend_pid();");
  clone();
  EXPECT_NE(psql.ask("SELECT pg_backend_pid();"), parents);
  EXPECT_EQ(psql.ask("SHOW work_mem;"), "123kB");
  EXPECT_EQ(counts().reopened, 1u);
}

TEST_P(TransparentTest, CurlsConnectionsToTheUpstreamAreEachDestinationsOwn) {
  int other_port = 0;
  UniqueFd other = listen_on(kFar, other_port);
  start({.protocol = Protocol::kHttp}, {upstream_port_, other_port});
  const auto get = [](int port) {
    auto curl = support::ChildProcess::start(
        {.command = {"curl", "--silent", "--max-time", "60", "--output", "/dev/null", "--fail",
                     "http://" + std::string(kFar) + ":" + std::to_string(port) + "/"}});
    EXPECT_TRUE(curl);
    return std::move(*curl);
  };
  const auto serve = [](const UniqueFd& connection) {
    std::string head;
    while (!head.ends_with("\r\n\r\n")) {
      const std::string byte = receive(connection, 1);
      if (byte.empty()) return false;
      head += byte;
    }
    send_all(connection, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    return true;
  };
  auto first = get(upstream_port_);
  const UniqueFd one = accept_from(upstream_);
  EXPECT_TRUE(serve(one));
  EXPECT_EQ(first.wait(std::chrono::seconds(20)).value_or(-1), 0);
  // The connection that waits is another upstream's.
  auto second = get(other_port);
  const UniqueFd two = accept_from(other);
  EXPECT_TRUE(serve(two));
  EXPECT_EQ(second.wait(std::chrono::seconds(20)).value_or(-1), 0);
  auto third = get(upstream_port_);
  EXPECT_TRUE(serve(one)) << "it waited for this";
  EXPECT_EQ(third.wait(std::chrono::seconds(20)).value_or(-1), 0);
  clone();
  auto fourth = get(upstream_port_);
  const UniqueFd fresh = accept_from(upstream_);
  EXPECT_TRUE(serve(fresh));
  EXPECT_EQ(fourth.wait(std::chrono::seconds(20)).value_or(-1), 0);
  EXPECT_TRUE(sees_nothing(one));
}

INSTANTIATE_TEST_SUITE_P(Kinds, TransparentTest,
                         testing::Values(Transparent::kRedirect, Transparent::kTproxy),
                         [](const auto& kind) {
                           return kind.param == Transparent::kRedirect ? "Redirect" : "Tproxy";
                         });

}  // namespace
}  // namespace clonesafe::proxy
