// HTTP services in a clone, and with upstreams that go away: what is sent again, and what isn't.
#include <sys/socket.h>

#include <thread>

#include "tests/unit/proxy/captured_log.h"
#include "tests/unit/proxy/http_fixture.h"

namespace clonesafe::proxy {
namespace {

using HttpCloneTest = HttpTest;
using HttpRepeatTest = HttpTest;

TEST_F(HttpCloneTest, ApplicationGoesOnAndIdleConnectionsAreLeftWithoutAWord) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd parents = accepted();
  answer(application, parents);
  clone();
  EXPECT_TRUE(sees_nothing(application));
  send_all(application, request("POST"));
  const UniqueFd own = accepted();
  hear(own, request("POST"));
  send_all(own, response());
  hear(application, response());
  EXPECT_TRUE(sees_nothing(parents)) << "the parent's peer was told";
  EXPECT_NE(peer_port(own), peer_port(parents));
  EXPECT_EQ(worker_->service(0).counts().fenced, 1u);
}

// Without the agent's news.
TEST_F(HttpCloneTest, FirstRequestIsNotSentOnAConnectionOfTheParent) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd parents = accepted();
  answer(application, parents);
  clone_this_machine();
  send_all(application, request("POST"));
  hear(accepted(), request("POST"));
  EXPECT_TRUE(sees_nothing(parents));
}

TEST_F(HttpCloneTest, SourceAfterItsSnapshotKeepsItsConnections) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd upstream = accepted();
  answer(application, upstream);
  resume_this_machine();
  worker_->fence();
  exchange(application, upstream);
}

TEST_F(HttpCloneTest, RequestUnderWayIsSentAgainIfTwiceIsOnce) {
  start();
  const struct {
    std::string text;
    bool repeated;
  } cases[] = {
      {request("GET"), true},
      {request("HEAD"), true},
      {request("DELETE"), true},
      {request("PUT", with_length("body"), "body"), true},
      {request("PUT", "Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n"), true},
      {request("POST", with_length("body"), "body"), false},
      {request("PATCH"), false},
      {request("MOVE"), false},
  };
  for (const auto& [text, repeated] : cases) {
    SCOPED_TRACE(text);
    const UniqueFd application = this->application();
    send_all(application, text);
    const UniqueFd parents = accepted();
    hear(parents, text);
    clone();
    if (repeated) {
      const UniqueFd own = accepted();
      hear(own, text);
      send_all(own, "HTTP/1.1 204 No Content\r\n\r\n");
      hear(application, "HTTP/1.1 204 No Content\r\n\r\n");
      // Not to be found by the next one.
      send_all(own, "x");
    } else {
      hear_error(application, 502);
    }
    EXPECT_TRUE(sees_nothing(parents)) << "the parent's peer was told";
    EXPECT_TRUE(sees_nothing(upstream_)) << "it was sent a third time";
  }
}

TEST_F(HttpCloneTest, RequestGoesOnInACloneOfAClone) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  std::vector<UniqueFd> parents;
  for (int generation = 0; generation < 3; ++generation) {
    parents.push_back(accepted());
    hear(parents.back(), request());
    clone();
  }
  answer(application, accepted());
  for (const UniqueFd& parent : parents) EXPECT_TRUE(sees_nothing(parent));
}

TEST_F(HttpCloneTest, BodyThatIsOnlyHalfThereIsSentAgainWithItsRest) {
  start();
  const UniqueFd application = this->application();
  const std::string head = request("PUT", "Content-Length: 8\r\n", "1234");
  send_all(application, head);
  const UniqueFd parents = accepted();
  hear(parents, head);
  clone();
  const UniqueFd own = accepted();
  hear(own, head);
  send_all(application, "5678");
  hear(own, "5678");
  send_all(own, response());
  hear(application, response());
  EXPECT_TRUE(sees_nothing(parents));
}

TEST_F(HttpCloneTest, BodyThatIsTooLargeToBeKeptIsNotSentAgain) {
  start();
  const UniqueFd application = this->application();
  const std::string put = request("PUT", "Content-Length: 100001\r\n", std::string(100'000, 'x'));
  send_all(application, put);
  const UniqueFd parents = accepted();
  EXPECT_TRUE(receive(parents, put.size()) == put);
  clone();
  hear_error(application, 502);
  EXPECT_TRUE(sees_nothing(parents));
  EXPECT_TRUE(sees_nothing(upstream_));
}

TEST_F(HttpCloneTest, HalfAResponseIsAnErrorToTheApplication) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd parents = accepted();
  hear(parents, request());
  send_all(parents, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
  hear(application, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
  clone();
  EXPECT_EQ(wait_for_news(application), Seen::kReset);
  EXPECT_TRUE(sees_nothing(parents));
  EXPECT_TRUE(sees_nothing(upstream_));
}

TEST_F(HttpCloneTest, TunnelEnds) {
  start();
  const UniqueFd application = this->application();
  const std::string fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
  send_all(application, request("GET", fields));
  const UniqueFd parents = accepted();
  hear(parents, request("GET", fields));
  const std::string switches = "HTTP/1.1 101 Switching Protocols\r\n" + fields + "\r\n";
  send_all(parents, switches);
  hear(application, switches);
  clone();
  EXPECT_EQ(wait_for_news(application), Seen::kReset);
  EXPECT_TRUE(sees_nothing(parents));
}

TEST_F(HttpRepeatTest, RequestIsSentOnceMoreWhenTheUpstreamGoesAway) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  hear(accepted(), request());
  answer(application, accepted());
}

TEST_F(HttpRepeatTest, ButNotTwice) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  hear(accepted(), request());
  hear(accepted(), request());
  hear_error(application, 502);
  EXPECT_TRUE(sees_nothing(upstream_));
}

TEST_F(HttpRepeatTest, AndNeverIfItsEffectCouldBeTwice) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request("POST"));
  hear(accepted(), request("POST"));
  hear_error(application, 502);
  EXPECT_TRUE(sees_nothing(upstream_));
}

// 100 is a response, too.
TEST_F(HttpRepeatTest, NorAfterAnyByteOfAResponse) {
  start();
  const UniqueFd application = this->application();
  const std::string head = request("PUT", "Expect: 100-continue\r\nContent-Length: 4\r\n");
  send_all(application, head);
  {
    const UniqueFd upstream = accepted();
    hear(upstream, head);
    send_all(upstream, "HTTP/1.1 100 Continue\r\n\r\n");
    hear(application, "HTTP/1.1 100 Continue\r\n\r\n");
  }
  hear_error(application, 502);
  EXPECT_TRUE(sees_nothing(upstream_));
}

using HttpAccessLogTest = HttpTest;

TEST_F(HttpAccessLogTest, SaysHowEachSessionEnded) {
  const CapturedLog log;
  start({.access_log = true});
  {
    const UniqueFd application = this->application();
    send_all(application, request("POST"));
    const UniqueFd upstream = accepted();
    hear(upstream, request("POST"));
    clone();
    hear_error(application, 502);
  }
  worker_.wait_for_ends();
  EXPECT_THAT(log.text(), testing::EndsWith("end=\"cloned\"\n"));
  {
    const UniqueFd application = this->application();
    send_all(application, request("POST"));
    accepted().reset();
    hear_error(application, 502);
  }
  worker_.wait_for_ends();
  EXPECT_THAT(log.text(), testing::EndsWith("end=\"upstream failed\"\n"));
  {
    const UniqueFd application = this->application();
    send_all(application, "nonsense\r\n\r\n");
    hear_error(application, 400);
  }
  worker_.wait_for_ends();
  EXPECT_THAT(log.text(), testing::EndsWith("end=\"refused\"\n"));
  {
    const UniqueFd application = this->application();
    send_all(application, request());
    answer(application, accepted());
  }
  worker_.wait_for_ends();
  EXPECT_THAT(log.text(), testing::EndsWith("end=\"ended\"\n"));
}

using HttpParkTest = HttpTest;

TEST_F(HttpParkTest, IdleConnectionsAreClosedAndNoneIsOpened) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd upstream = accepted();
  answer(application, upstream);
  const auto parked = worker_->park({.part = true, .deadline = std::chrono::seconds(20)}).get();
  EXPECT_EQ(parked.at(0).upstreams.open, 0u);
  EXPECT_EQ(wait_for_news(upstream), Seen::kEnd);
  send_all(application, request());
  EXPECT_TRUE(sees_nothing(upstream_)) << "a connection was opened";
  worker_->unpark();
  answer(application, accepted());
}

TEST_F(HttpParkTest, RequestUnderWayIsWaitedFor) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd upstream = accepted();
  hear(upstream, request());
  const std::chrono::milliseconds now{1};
  EXPECT_EQ(worker_->park({.part = true, .deadline = now}).get().at(0).upstreams.open, 1u);
  auto parked = worker_->park({.part = true, .deadline = std::chrono::seconds(20)});
  send_all(upstream, response());
  hear(application, response());
  EXPECT_EQ(parked.get().at(0).upstreams.open, 0u);
  worker_->unpark();
}

}  // namespace
}  // namespace clonesafe::proxy
