// Whether an upstream's addresses are well: what is asked, and what comes of the answers.
#include <boost/json.hpp>

#include "proxy/ctl/tables.h"
#include "proxy/health/health_checks.h"
#include "proxy/wire/postgres/error_response.h"
#include "tests/unit/proxy/program_fixture.h"

namespace clonesafe::proxy {
namespace {

using testing::HasSubstr;
using Clock = std::chrono::steady_clock;
using Kind = CheckConfig::Kind;
using std::chrono::milliseconds;

class HealthTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { enter_network(); }

  // Two addresses, at each of which somebody listens.
  void start(CheckConfig check) {
    config_.check = std::move(check);
    for (const char* host : {kFar, "127.0.0.1"}) {
      int port = 0;
      listeners_.push_back(listen_on(host, port));
      ports_.push_back(port);
      config_.addresses.push_back(
          parse_address(std::string(host) + ":" + std::to_string(port)).value());
    }
    upstream_.emplace(loop_, config_, nullptr);
    checks_.emplace(loop_, name_, config_, *upstream_);
  }
  void ask(std::size_t address) { EXPECT_TRUE(run(ask_for(*checks_, address))); }
  static Awaitable<bool> ask_for(HealthChecks& checks, std::size_t address) {
    co_await checks.ask(address);
    co_return true;
  }
  // Whom somebody is connected to.
  int reached() {
    Upstream::Peer peer;
    const Upstream::Wish wish{.hold = milliseconds(0), .peer = &peer};
    EXPECT_TRUE(run(upstream_->connect(wish)));
    return port_of(peer.endpoint);
  }

  const std::string name_ = "test";
  UpstreamConfig config_;
  std::vector<UniqueFd> listeners_;
  std::vector<int> ports_;
  std::optional<Upstream> upstream_;
  std::optional<HealthChecks> checks_;
};

TEST_F(HealthTest, WhatIsDownIsTriedLastUntilItIsUpAgain) {
  start({.rise = 2, .fall = 2});
  EXPECT_EQ(reached(), ports_[0]);
  listeners_[0].reset();
  ask(0);
  EXPECT_FALSE(upstream_->down(0)) << "once is not twice";
  ask(0);
  EXPECT_TRUE(upstream_->down(0));
  EXPECT_EQ(reached(), ports_[1]);
  EXPECT_EQ(upstream_->counts().failed_connects, 0u) << "the other one was tried first";
  // If nobody else is there it is tried nevertheless.
  listeners_[0] = listen_on(kFar, ports_[0]);
  listeners_[1].reset();
  EXPECT_EQ(reached(), ports_[0]);
  ask(0);
  EXPECT_TRUE(upstream_->down(0));
  ask(0);
  EXPECT_FALSE(upstream_->down(0));
  EXPECT_EQ(checks_->asked(), 4u);
  EXPECT_EQ(checks_->failed(), 2u);
}

TEST_F(HealthTest, GoodAnswersInBetweenCount) {
  start({.fall = 2});
  for (int i = 0; i < 2; ++i) {
    listeners_[0].reset();
    ask(0);
    listeners_[0] = listen_on(kFar, ports_[0]);
    ask(0);
  }
  EXPECT_FALSE(upstream_->down(0));
}

TEST_F(HealthTest, CloneKnowsNothingOfWhatItsParentFound) {
  start({.fall = 1});
  listeners_[0].reset();
  ask(0);
  EXPECT_TRUE(upstream_->down(0));
  clone_this_machine();
  upstream_->turn_generation();
  EXPECT_FALSE(upstream_->down(0));
}

// Asked by the parent, answered in the clone.
TEST_F(HealthTest, WhatWasAskedBeforeTheCloneSaysNothing) {
  start({.kind = Kind::kRedis, .timeout = milliseconds(20'000), .fall = 1});
  std::thread server([this] {
    const UniqueFd asked = accept_from(listeners_[1]);
    receive(asked, 14);
    clone_this_machine();
    send_all(asked, "-ERR ill\r\n");
  });
  ask(1);
  server.join();
  EXPECT_FALSE(upstream_->down(1));
  EXPECT_EQ(checks_->asked(), 0u);
}

TEST_F(HealthTest, NothingIsAskedWhileItIsParked) {
  start({.kind = Kind::kRedis, .interval = milliseconds(100), .timeout = milliseconds(20'000)});
  const auto later = [] { return Clock::now() + milliseconds(200); };
  checks_->due(Clock::now());
  EXPECT_EQ(checks_->due(later()).size(), 2u);
  upstream_->park();
  EXPECT_TRUE(checks_->due(later()).empty());
  upstream_->unpark();
  // What is under way ends.
  std::thread server([this] {
    const UniqueFd asked = accept_from(listeners_[0]);
    receive(asked, 14);
    boost::asio::post(loop_.io(), [this] {
      upstream_->park();
      checks_->stop();
    });
    EXPECT_EQ(wait_for_news(asked), Seen::kEnd);
  });
  ask(0);
  server.join();
  EXPECT_EQ(checks_->asked(), 0u);
  EXPECT_EQ(upstream_->traffic().open, 0u);
}

TEST_F(HealthTest, ClonesDoNotAskAllAtOnce) {
  start({.interval = milliseconds(86'400'000)});
  const auto now = Clock::now();
  EXPECT_TRUE(checks_->due(now).empty()) << "one in 86 million times it isn't";
  EXPECT_EQ(checks_->due(now + milliseconds(86'400'000)).size(), 2u);
  clone_this_machine();
  EXPECT_TRUE(checks_->due(now + milliseconds(86'400'000)).empty());
}

TEST_F(HealthTest, WithoutChecksNothingIsAsked) {
  config_.addresses = {parse_address("10.9.0.1:1").value()};
  upstream_.emplace(loop_, config_, nullptr);
  checks_.emplace(loop_, name_, config_, *upstream_);
  EXPECT_TRUE(checks_->due(Clock::now() + std::chrono::hours(1)).empty());
}

TEST_F(HealthTest, JudgesTheAnswerByItsProtocol) {
  const auto error = [](std::string_view sqlstate) {
    std::string out;
    EXPECT_TRUE(wire::postgres::append_error(
        out, {.severity = "FATAL", .sqlstate = sqlstate, .message = "no"}));
    return out;
  };
  const struct {
    CheckConfig check;
    std::string answer;
    bool well;
  } cases[] = {
      {{.kind = Kind::kTcp}, "", true},
      {{.kind = Kind::kRedis}, "+PONG\r\n", true},
      {{.kind = Kind::kRedis}, "-NOAUTH Authentication required.\r\n", true},
      {{.kind = Kind::kRedis}, "-LOADING Redis is loading the dataset in memory\r\n", false},
      {{.kind = Kind::kRedis}, "", false},
      {{.kind = Kind::kHttp}, "HTTP/1.1 200 OK\r\n\r\n", true},
      {{.kind = Kind::kHttp}, "HTTP/1.1 302 Found\r\n\r\n", true},
      {{.kind = Kind::kHttp}, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", true},
      {{.kind = Kind::kHttp}, "HTTP/1.1 503 Service Unavailable\r\n\r\n", false},
      {{.kind = Kind::kHttp, .status = 503}, "HTTP/1.1 503 Service Unavailable\r\n\r\n", true},
      {{.kind = Kind::kHttp, .status = 204}, "HTTP/1.1 200 OK\r\n\r\n", false},
      {{.kind = Kind::kHttp}, "SSH-2.0-OpenSSH_9.2p1\r\n", false},
      {{.kind = Kind::kHttp}, std::string(20'000, 'x'), false},
      {{.kind = Kind::kPostgres}, std::string("R\0\0\0\x08\0\0\0\x05", 9), true},
      {{.kind = Kind::kPostgres}, error("57P03"), false},
      {{.kind = Kind::kPostgres}, error("28000"), true},
      {{.kind = Kind::kPostgres}, error("53300"), false},
      {{.kind = Kind::kPostgres}, std::string("R\xff\xff\xff\xff", 5), false},
      {{.kind = Kind::kPostgres}, "HTTP/1.1 400 Bad Request\r\n\r\n", false},
  };
  for (const auto& [check, answer, well] : cases) {
    SCOPED_TRACE(answer.substr(0, 60));
    listeners_.clear();
    config_.addresses.clear();
    ports_.clear();
    CheckConfig once = check;
    once.fall = 1;
    once.timeout = milliseconds(20'000);
    start(std::move(once));
    std::thread server([this, &check, &answer] {
      const UniqueFd asked = accept_from(listeners_[0]);
      if (check.kind != Kind::kTcp) wait_for_news(asked);
      if (!answer.empty()) send_all(asked, answer);
    });
    ask(0);
    server.join();
    EXPECT_EQ(upstream_->down(0), !well);
  }
}

TEST_F(HealthTest, SaysWhatItWants) {
  start({.kind = Kind::kHttp, .path = "/live?deep=1"});
  std::thread server([this] {
    const UniqueFd asked = accept_from(listeners_[0]);
    const std::string expected =
        "GET /live?deep=1 HTTP/1.1\r\nHost: " + config_.addresses[0].text() +
        "\r\nUser-Agent: clonesafe-proxy\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(receive(asked, expected.size()), expected);
    send_all(asked, "HTTP/1.1 200 OK\r\n\r\n");
  });
  ask(0);
  server.join();
}

class HealthShownTest : public ProgramTest {};

TEST_F(HealthShownTest, OperatorsSeeWhatIsDown) {
  start("", "upstream.check = { interval_ms = 100, fall = 1, rise = 1 }");
  const std::string address = kFar + (":" + std::to_string(upstream_port_));
  const auto down = [&] {
    return ask({{"call", "upstreams"}})->at("upstreams").at(0).at("down").as_array();
  };
  EXPECT_TRUE(down().empty());
  upstream_.reset();
  while (down().empty()) std::this_thread::yield();
  EXPECT_EQ(down().at(0).as_string(), address);
  EXPECT_THAT(metrics(), HasSubstr("clonesafe_proxy_upstream_address_down{service=\"test\","
                                   "address=\"" +
                                   address + "\"} 1\n"));
  EXPECT_THAT(upstreams_table(*ask({{"call", "upstreams"}})), HasSubstr(address));
  upstream_ = listen_on(kFar, upstream_port_);
  while (!down().empty()) std::this_thread::yield();
  EXPECT_THAT(metrics(), HasSubstr("address=\"" + address + "\"} 0\n"));
}

}  // namespace
}  // namespace clonesafe::proxy
