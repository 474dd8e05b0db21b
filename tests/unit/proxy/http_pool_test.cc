// How HTTP services share connections to their upstream: limits, waiting in turn, what is kept
// warm, and how long one lives.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/proxy/http_fixture.h"

namespace clonesafe::proxy {
namespace {

class HttpPoolTest : public HttpTest {
 protected:
  static ServiceConfig limited(std::uint32_t most) {
    ServiceConfig config;
    config.upstream.max_connections = most;
    return config;
  }
  std::uint64_t open() { return worker_->census().at(0).upstreams.open; }
};

TEST_F(HttpPoolTest, RequestsBeyondTheLimitGetTheConnectionInTurn) {
  start(limited(1));
  const UniqueFd first = application(), second = application(), third = application();
  send_all(first, request());
  const UniqueFd upstream = accepted();
  hear(upstream, request());
  send_all(second, request("GET", "X: 2\r\n"));
  // It is in line before the next one is.
  while (worker_->census().at(0).applications.read_bytes <
         request().size() + request("GET", "X: 2\r\n").size()) {
  }
  send_all(third, request("GET", "X: 3\r\n"));
  send_all(upstream, response("1"));
  hear(first, response("1"));
  hear(upstream, request("GET", "X: 2\r\n"));
  send_all(upstream, response("2"));
  hear(second, response("2"));
  hear(upstream, request("GET", "X: 3\r\n"));
  send_all(upstream, response("3"));
  hear(third, response("3"));
  EXPECT_TRUE(sees_nothing(upstream_)) << "there was another connection";
}

TEST_F(HttpPoolTest, RequestThatGetsNoConnectionInTimeIsToldSo) {
  ServiceConfig config = limited(1);
  config.hold = Milliseconds(50);
  start(std::move(config));
  const UniqueFd first = application(), second = application();
  send_all(first, request());
  const UniqueFd upstream = accepted();
  hear(upstream, request());
  send_all(second, request());
  hear_error(second, 503);
  EXPECT_EQ(worker_->census().at(0).upstream_counts.limit_refused, 1u);
  // It is in nobody's way.
  const UniqueFd third = application();
  send_all(upstream, response());
  hear(first, response());
  exchange(third, upstream);
}

TEST_F(HttpPoolTest, ConnectionThatNamesItsApplicationGivesItsPlaceToAnother) {
  ServiceConfig config = limited(1);
  config.upstream.send_proxy_protocol = 1;
  start(std::move(config));
  const UniqueFd first = application(), second = application();
  const auto header_of = [this](const UniqueFd& application) {
    sockaddr_in own{};
    socklen_t size = sizeof own;
    EXPECT_EQ(::getsockname(application.get(), reinterpret_cast<sockaddr*>(&own), &size), 0);
    return "PROXY TCP4 127.0.0.1 127.0.0.1 " + std::to_string(ntohs(own.sin_port)) + " " +
           std::to_string(port_) + "\r\n";
  };
  send_all(first, request());
  const UniqueFd firsts = accepted();
  hear(firsts, header_of(first) + request());
  send_all(firsts, response());
  hear(first, response());
  // It waits for the first application's next request, and goes.
  send_all(second, request());
  EXPECT_EQ(wait_for_news(firsts), Seen::kEnd);
  const UniqueFd seconds = accepted();
  hear(seconds, header_of(second) + request());
  // One that is in use goes when it is done.
  send_all(first, request());
  send_all(seconds, response());
  hear(second, response());
  EXPECT_EQ(wait_for_news(seconds), Seen::kEnd);
  hear(accepted(), header_of(first) + request());
}

// The parent's was in use, and nothing that comes of that gives its place back.
TEST_F(HttpPoolTest, CloneHasPlacesOfItsOwn) {
  ServiceConfig config = limited(1);
  config.hold = Milliseconds(600'000);
  start(std::move(config));
  const UniqueFd first = application(), second = application();
  const std::string post = request("POST", with_length("a"), "a");
  send_all(first, post);
  const UniqueFd parents = accepted();
  hear(parents, post);
  // By then it waits for the response.
  worker_->census();
  clone();
  hear_error(first, 502);
  send_all(second, request());
  const UniqueFd own = accepted();
  answer(second, own);
  EXPECT_TRUE(sees_nothing(parents));
  EXPECT_EQ(worker_->census().at(0).upstream_counts.limit_refused, 0u);
}

TEST_F(HttpPoolTest, SoManyAreKeptWarm) {
  ServiceConfig config;
  config.upstream.min_idle = 2;
  config.upstream.idle = Milliseconds(1);
  config.upstream.spread = Milliseconds(50);
  start(std::move(config));
  const UniqueFd one = accepted(), other = accepted();
  const UniqueFd application = this->application();
  send_all(application, request());
  // Whichever of them.
  pollfd both[] = {{.fd = one.get(), .events = POLLIN, .revents = 0},
                   {.fd = other.get(), .events = POLLIN, .revents = 0}};
  ASSERT_GT(::poll(both, 2, 20'000), 0);
  const UniqueFd& used = both[0].revents != 0 ? one : other;
  hear(used, request());
  // While it is in use, another one waits.
  const UniqueFd third = accepted();
  send_all(used, response());
  hear(application, response());
  // One more than needed goes, and what the upstream closes is replaced.
  while (open() != 2) {
  }
  ::shutdown(used.get(), SHUT_RDWR);
  const UniqueFd fourth = accepted();
}

TEST_F(HttpPoolTest, CloneHasWarmOnesOfItsOwn) {
  ServiceConfig config;
  config.upstream.min_idle = 1;
  config.upstream.spread = Milliseconds(50);
  start(std::move(config));
  const UniqueFd parents = accepted();
  clone();
  EXPECT_EQ(worker_->census().at(0).counts.fenced, 1u);
  const UniqueFd own = accepted();
  EXPECT_TRUE(sees_nothing(parents));
  const UniqueFd application = this->application();
  exchange(application, own);
}

TEST_F(HttpPoolTest, WarmOnesAreInNoHurry) {
  ServiceConfig config;
  config.upstream.min_idle = 1;
  config.upstream.spread = Milliseconds(80'000'000);
  config.idle = Milliseconds(1);
  start(std::move(config));
  // These are found to be idle by those who look how many are missing, a little before.
  for (int i = 0; i < 3; ++i) EXPECT_EQ(wait_for_news(application()), Seen::kReset);
  EXPECT_TRUE(sees_nothing(upstream_));
}

TEST_F(HttpPoolTest, OneThatLivedLongEnoughIsNotUsedAgain) {
  ServiceConfig config;
  config.upstream.lifetime = Milliseconds(20);
  start(std::move(config));
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd first = accepted();
  answer(application, first);
  EXPECT_EQ(wait_for_news(first), Seen::kEnd);
  send_all(application, request());
  answer(application, accepted());
}

// Redis: nobody waits for what comes on the next connection of a subscriber.
TEST_F(HttpPoolTest, SubscriberOfACloneIsInNoHurryUntilItAsks) {
  ServiceConfig config;
  config.upstream.spread = Milliseconds(80'000'000);
  start(std::move(config), Protocol::kRedis);
  const UniqueFd application = this->application();
  const std::string subscribe = "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n";
  const std::string confirmed = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
  send_all(application, subscribe);
  const UniqueFd parents = accepted();
  hear(parents, subscribe);
  send_all(parents, confirmed);
  hear(application, confirmed);
  clone();
  // The same thread serves somebody else, and is done with all that is at once.
  const std::string ping = "*1\r\n$4\r\nPING\r\n";
  const UniqueFd other = this->application();
  send_all(other, ping);
  const UniqueFd others = accepted();
  hear(others, ping);
  EXPECT_TRUE(sees_nothing(upstream_)) << "it came with all others";
  send_all(application, ping);
  const UniqueFd own = accepted();
  hear(own, subscribe + ping);
}

}  // namespace
}  // namespace clonesafe::proxy
