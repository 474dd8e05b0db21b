// HTTP services: what is carried, and what is answered when it can't be.
#include <sys/socket.h>

#include <thread>

#include "tests/unit/proxy/http_fixture.h"

namespace clonesafe::proxy {
namespace {

using HttpCarriesTest = HttpTest;
using HttpRefusesTest = HttpTest;

TEST_F(HttpCarriesTest, RequestsOfOneApplicationOverOneConnection) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd upstream = accepted();
  answer(application, upstream);
  exchange(application, upstream);
  EXPECT_TRUE(sees_nothing(upstream_)) << "there is another connection";
}

TEST_F(HttpCarriesTest, IdleConnectionServesTheNextApplication) {
  start();
  const UniqueFd first = application();
  send_all(first, request());
  const UniqueFd upstream = accepted();
  answer(first, upstream);
  const UniqueFd second = application();
  exchange(second, upstream);
}

TEST_F(HttpCarriesTest, NoConnectionWaitsWhereNoneMay) {
  ServiceConfig config;
  config.upstream.idle_connections = 0;
  start(config);
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd first = accepted();
  answer(application, first);
  EXPECT_EQ(wait_for_news(first), Seen::kEnd);
  send_all(application, request());
  answer(application, accepted());
}

TEST_F(HttpCarriesTest, IdleConnectionEndsAfterItsTime) {
  ServiceConfig config;
  config.upstream.idle = Milliseconds(1);
  start(config);
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd upstream = accepted();
  answer(application, upstream);
  EXPECT_EQ(wait_for_news(upstream), Seen::kEnd);
}

TEST_F(HttpCarriesTest, OldestIdleConnectionMakesPlace) {
  ServiceConfig config;
  config.upstream.idle_connections = 1;
  start(config);
  const UniqueFd first = application(), second = application();
  send_all(first, request());
  const UniqueFd oldest = accepted();
  send_all(second, request());
  const UniqueFd newest = accepted();
  answer(first, oldest);
  answer(second, newest);
  EXPECT_EQ(wait_for_news(oldest), Seen::kEnd);
  exchange(first, newest);
}

// Not one byte was sent on the one that is closed, so that any method may be sent on another.
TEST_F(HttpCarriesTest, ConnectionThatTheUpstreamClosedIsNotUsed) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  {
    const UniqueFd first = accepted();
    answer(application, first);
  }
  const std::string post = request("POST", with_length("body"), "body");
  send_all(application, post);
  hear(accepted(), post);
}

TEST_F(HttpCarriesTest, ConnectionWithBytesThatNobodyAskedForIsNotUsed) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd first = accepted();
  hear(first, request());
  send_all(first, response() + response("another's"));
  hear(application, response());
  send_all(application, request());
  answer(application, accepted());
}

TEST_F(HttpCarriesTest, FieldsOfOneConnectionStayOnIt) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request("GET",
                                "Connection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\n"
                                "X-Mine: 1\r\nTE: trailers\r\nX-Other: 2\r\n"));
  const UniqueFd upstream = accepted();
  hear(upstream, request("GET", "X-Other: 2\r\n"));
  send_all(upstream,
           "HTTP/1.1 200 OK\r\nConnection: X-Yours\r\nKeep-Alive: timeout=5\r\nX-Yours: 1\r\n"
           "Content-Length: 2\r\n\r\nok");
  hear(application, response());
  exchange(application, upstream);
}

TEST_F(HttpCarriesTest, ApplicationThatWantsToEndIsTold) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request("GET", "Connection: close\r\n"));
  const UniqueFd upstream = accepted();
  hear(upstream, request());
  send_all(upstream, response());
  hear(application, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
  EXPECT_EQ(wait_for_news(application), Seen::kEnd);
  // The upstream's goes on.
  const UniqueFd next = this->application();
  exchange(next, upstream);
}

TEST_F(HttpCarriesTest, UpstreamThatWantsToEndIsLeft) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd first = accepted();
  hear(first, request());
  send_all(first, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
  hear(application, response());
  EXPECT_EQ(wait_for_news(first), Seen::kEnd);
  send_all(application, request());
  answer(application, accepted());
}

TEST_F(HttpCarriesTest, RequestsThatCameTogetherAreAnsweredInTurn) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request() + request("DELETE") + request());
  const UniqueFd upstream = accepted();
  for (const std::string method : {"GET", "DELETE", "GET"}) {
    hear(upstream, request(method));
    EXPECT_TRUE(sees_nothing(upstream));
    send_all(upstream, response(method));
    hear(application, response(method));
  }
}

TEST_F(HttpCarriesTest, ResponsesWithoutABody) {
  start();
  const UniqueFd application = this->application();
  const struct {
    std::string method, response;
  } cases[] = {{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"},
               {"GET", "HTTP/1.1 204 No Content\r\n\r\n"},
               {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"}};
  UniqueFd upstream;
  for (const auto& [method, response] : cases) {
    send_all(application, request(method));
    if (!upstream) upstream = accepted();
    hear(upstream, request(method));
    send_all(upstream, response);
    hear(application, response);
  }
  exchange(application, upstream);
}

TEST_F(HttpCarriesTest, ChunksAndTrailersAsTheyAre) {
  start();
  const UniqueFd application = this->application();
  const std::string chunks = "3;a=b\r\nabc\r\n00a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
  const std::string head = request("POST", "Transfer-Encoding: chunked\r\n");
  send_all(application, head);
  const UniqueFd upstream = accepted();
  hear(upstream, head);
  for (const char byte : chunks) send_all(application, {byte});
  hear(upstream, chunks);
  const std::string answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char byte : answer + chunks) send_all(upstream, {byte});
  hear(application, answer + chunks);
  exchange(application, upstream);
}

TEST_F(HttpCarriesTest, LargeBodiesInBothDirections) {
  start();
  const UniqueFd application = this->application();
  const std::string large(3'000'000, 'x');
  const std::string put = request("PUT", with_length(large), large);
  std::thread writer([&] { send_all(application, put); });
  const UniqueFd upstream = accepted();
  EXPECT_TRUE(receive(upstream, put.size()) == put);
  writer.join();
  std::thread back([&] { send_all(upstream, response(large)); });
  EXPECT_TRUE(receive(application, response(large).size()) == response(large));
  back.join();
  exchange(application, upstream);
}

TEST_F(HttpCarriesTest, ResponseThatEndsWithItsConnection) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  {
    const UniqueFd upstream = accepted();
    hear(upstream, request());
    send_all(upstream, "HTTP/1.1 200 OK\r\n\r\nall");
  }
  hear(application, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall");
  EXPECT_EQ(wait_for_news(application), Seen::kEnd);
}

TEST_F(HttpCarriesTest, ContinueIsTheUpstreamsToSay) {
  start();
  const UniqueFd application = this->application();
  const std::string head = request("POST", "Expect: 100-continue\r\nContent-Length: 4\r\n");
  send_all(application, head);
  const UniqueFd upstream = accepted();
  hear(upstream, head);
  EXPECT_TRUE(sees_nothing(application));
  send_all(upstream, "HTTP/1.1 100 Continue\r\n\r\n");
  hear(application, "HTTP/1.1 100 Continue\r\n\r\n");
  send_all(application, "body");
  hear(upstream, "body");
  send_all(upstream, response());
  hear(application, response());
  exchange(application, upstream);
}

TEST_F(HttpCarriesTest, ResponseBeforeTheBodyEndsTheConnection) {
  start();
  const UniqueFd application = this->application();
  const std::string head = request("POST", "Expect: 100-continue\r\nContent-Length: 4\r\n");
  send_all(application, head);
  const UniqueFd upstream = accepted();
  hear(upstream, head);
  send_all(upstream, response());
  hear(application, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
  EXPECT_EQ(wait_for_news(application), Seen::kEnd);
  // What would be read as the next request if the connection were used again.
  send_all(application, "body");
  EXPECT_NE(wait_for_news(upstream), Seen::kBytes);
}

TEST_F(HttpCarriesTest, EarlyHintsComeBeforeTheResponse) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd upstream = accepted();
  hear(upstream, request());
  const std::string hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
  send_all(upstream, hints + hints + response());
  hear(application, hints + hints + response());
}

TEST_F(HttpCarriesTest, AnotherProtocolAfterAnUpgrade) {
  start();
  const UniqueFd application = this->application();
  const std::string fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
  send_all(application, request("GET", fields));
  const UniqueFd upstream = accepted();
  hear(upstream, request("GET", fields));
  const std::string switches = "HTTP/1.1 101 Switching Protocols\r\n" + fields + "\r\n";
  send_all(upstream, switches + "hello");
  hear(application, switches + "hello");
  send_all(application, std::string("\0\xff", 2) + "GET / HTTP/1.1\r\n\r\n");
  hear(upstream, std::string("\0\xff", 2) + "GET / HTTP/1.1\r\n\r\n");
  ::shutdown(application.get(), SHUT_WR);
  EXPECT_EQ(wait_for_news(upstream), Seen::kEnd);
  send_all(upstream, "bye");
  hear(application, "bye");
}

// Its bytes could not be told apart from the body's.
TEST_F(HttpCarriesTest, NoOtherProtocolBehindABody) {
  start();
  const UniqueFd application = this->application();
  send_all(
      application,
      request("POST", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", "a"));
  hear(accepted(), request("POST", "Content-Length: 1\r\n", "a"));
}

TEST_F(HttpCarriesTest, UpgradeThatTheUpstreamDoesNotTake) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request("GET", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
  const UniqueFd upstream = accepted();
  receive(upstream, request("GET", "Connection: Upgrade\r\nUpgrade: websocket\r\n").size());
  send_all(upstream, response());
  hear(application, response());
  exchange(application, upstream);
}

TEST_F(HttpCarriesTest, OldApplications) {
  start();
  const UniqueFd application = this->application();
  send_all(application, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const UniqueFd first = accepted();
  hear(first, "GET / HTTP/1.0\r\n\r\n");
  send_all(first, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
  hear(application, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok");
  send_all(application, "GET / HTTP/1.0\r\n\r\n");
  const UniqueFd second = accepted();
  hear(second, "GET / HTTP/1.0\r\n\r\n");
  // They know of no interim responses.
  send_all(second, "HTTP/1.1 103 Early Hints\r\n\r\n" + response());
  hear(application, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
  EXPECT_EQ(wait_for_news(application), Seen::kEnd);
}

TEST_F(HttpCarriesTest, OldApplicationsKnowOfNoOtherProtocolsAndNoChunks) {
  start();
  const UniqueFd application = this->application();
  send_all(application, "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  const UniqueFd upstream = accepted();
  hear(upstream, "GET / HTTP/1.0\r\n\r\n");
  send_all(upstream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
  hear_error(application, 502);
}

TEST_F(HttpCarriesTest, TargetsInAbsoluteForm) {
  start();
  const UniqueFd application = this->application();
  const struct {
    std::string sent, sent_on;
  } cases[] = {
      {"GET http://a:80/x?y HTTP/1.1\r\nHost: a:80\r\n\r\n",
       "GET /x?y HTTP/1.1\r\nHost: a:80\r\n\r\n"},
      {"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"GET http://a?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?y HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"GET http://a/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
       "GET / HTTP/1.0\r\nHost: a\r\n\r\n"},
  };
  UniqueFd upstream;
  for (const auto& [sent, sent_on] : cases) {
    send_all(application, sent);
    if (!upstream) upstream = accepted();
    hear(upstream, sent_on);
    send_all(upstream, response());
    receive(application, sent.find("1.0") == sent.npos
                             ? response().size()
                             : response().size() + strlen("Connection: keep-alive\r\n"));
  }
}

TEST_F(HttpCarriesTest, UpstreamIsToldOfTheApplication) {
  start({.http = {.forwarded = Forwarded::kXForwarded}});
  const UniqueFd application = this->application();
  send_all(application,
           request("GET", "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"));
  const UniqueFd upstream = accepted();
  hear(upstream, request("GET",
                         "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 127.0.0.1\r\n"
                         "X-Forwarded-Proto: http\r\n"));
}

TEST_F(HttpCarriesTest, UpstreamIsToldInTheStandardsForm) {
  start({.http = {.forwarded = Forwarded::kForwarded}});
  const UniqueFd application = this->application();
  send_all(application, request());
  hear(accepted(), request("GET", "Forwarded: for=127.0.0.1;proto=http\r\n"));
}

// Each is answered, the connection ends, and the upstream never hears of it.
TEST_F(HttpRefusesTest, WhatOthersCouldReadInAnotherWay) {
  start();
  const std::string smuggled = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
  const struct {
    std::string request;
    int status;
  } cases[] = {
      {request("POST", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
      {request("POST", "Content-Length: 4\r\nContent-Length: 5\r\n", "body"), 400},
      {request("POST", "Content-Length: 4, 4\r\n", "body"), 400},
      {request("POST", "Content-Length: +4\r\n", "body"), 400},
      {request("POST", "Content-Length: 0x4\r\n", "body"), 400},
      {request("POST", "Content-Length:  4\r\n", "body"), 400},
      {request("POST", "Content-Length : 4\r\n", "body"), 400},
      {request("POST", "Content_Length: 4\r\n", "body"), 400},
      {request("POST", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400},
      {request("POST", "Transfer-Encoding: identity\r\n"), 501},
      {request("POST", "Transfer-Encoding: chunked, identity\r\n"), 501},
      {request("POST", "Transfer-Encoding:\tchunked\r\n"), 400},
      {request("POST", "Transfer-Encoding: xchunked\r\n"), 501},
      {request("POST", "Connection: Content-Length\r\nContent-Length: 4\r\n", "body"), 400},
      {request("POST", "Transfer-Encoding: chunked\r\n", "g\r\n"), 400},
      {request("POST", "Transfer-Encoding: chunked\r\n", "3\r\nabcd\r\n0\r\n\r\n"), 400},
      {request("POST", "Transfer-Encoding: chunked\r\n", "3\nabc\r\n0\r\n\r\n"), 400},
      {request("POST", "Transfer-Encoding: chunked\r\n", "0\r\nContent-Length: 4\r\n\r\n"), 400},
      {request("GET", "X: a\rb\r\n"), 400},
      {request("GET", "X: a\n"), 400},
      {request("GET", "X: a\r\n folded\r\n"), 400},
      {request("GET", "X\r\n"), 400},
      {request("GET", "Host: b\r\n"), 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"GET /\r\n\r\n", 400},
      {"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", 501},
      {request("GET", "X: " + std::string(40'000, 'x') + "\r\n"), 431},
  };
  for (const auto& [text, status] : cases) {
    SCOPED_TRACE(text.substr(0, 200));
    const UniqueFd application = this->application();
    send_all(application, text + smuggled);
    hear_error(application, status);
    EXPECT_TRUE(sees_nothing(upstream_)) << "the upstream was connected to";
  }
}

TEST_F(HttpRefusesTest, BadChunkInTheMiddleOfABody) {
  start();
  const UniqueFd application = this->application();
  const std::string head = request("POST", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n");
  send_all(application, head);
  const UniqueFd upstream = accepted();
  hear(upstream, head);
  send_all(application, "0\nGET /admin HTTP/1.1\r\n");
  EXPECT_NE(wait_for_news(upstream), Seen::kBytes);
  hear_error(application, 400);
}

TEST_F(HttpRefusesTest, BodiesOverTheLimit) {
  start({.http = {.max_body = 8}});
  const UniqueFd first = application();
  send_all(first, request("POST", "Content-Length: 9\r\n"));
  hear_error(first, 413);
  EXPECT_TRUE(sees_nothing(upstream_));
  const UniqueFd second = application();
  const std::string head = request("POST", "Transfer-Encoding: chunked\r\n", "8\r\n01234567\r\n");
  send_all(second, head);
  const UniqueFd upstream = accepted();
  hear(upstream, head);
  send_all(second, "1\r\n8\r\n");
  EXPECT_NE(wait_for_news(upstream), Seen::kBytes);
  hear_error(second, 413);
}

TEST_F(HttpRefusesTest, ResponsesThatAreNone) {
  start();
  const std::string cases[] = {
      "hello\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
  };
  for (const std::string& text : cases) {
    SCOPED_TRACE(text);
    const UniqueFd application = this->application();
    send_all(application, request());
    const UniqueFd upstream = accepted();
    hear(upstream, request());
    send_all(upstream, text);
    hear_error(application, 502);
    EXPECT_TRUE(sees_nothing(upstream_)) << "it was asked again";
  }
}

TEST_F(HttpRefusesTest, HalfAResponseIsAnErrorToTheApplication) {
  start();
  const UniqueFd application = this->application();
  send_all(application, request());
  {
    const UniqueFd upstream = accepted();
    hear(upstream, request());
    send_all(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    hear(application, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
  }
  EXPECT_EQ(wait_for_news(application), Seen::kReset);
}

TEST_F(HttpRefusesTest, UpstreamThatCantBeReached) {
  start({.hold = Milliseconds(50)});
  upstream_.reset();
  const UniqueFd application = this->application();
  send_all(application, request());
  const std::string text = receive(application, 4096);
  EXPECT_THAT(text, testing::StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(text, testing::HasSubstr("\r\nRetry-After: 1\r\n"));
}

TEST_F(HttpRefusesTest, HeadThatIsNeverWhole) {
  start({.http = {.request_timeout = Milliseconds(20)}});
  const UniqueFd application = this->application();
  send_all(application, "GET / HTTP/1.1\r\nHost:");
  hear_error(application, 408);
}

TEST_F(HttpRefusesTest, BodyThatIsNeverWhole) {
  start({.http = {.request_timeout = Milliseconds(20)}});
  const UniqueFd application = this->application();
  send_all(application, request("POST", "Content-Length: 4\r\n", "bo"));
  const UniqueFd upstream = accepted();
  hear_error(application, 408);
  hear(upstream, request("POST", "Content-Length: 4\r\n", "bo"));
  EXPECT_EQ(wait_for_news(upstream), Seen::kEnd);
}

TEST_F(HttpRefusesTest, ResponseThatNeverComes) {
  start({.http = {.response_timeout = Milliseconds(20)}});
  const UniqueFd application = this->application();
  send_all(application, request());
  const UniqueFd upstream = accepted();
  hear_error(application, 504);
  EXPECT_TRUE(sees_nothing(upstream_)) << "it was asked again";
}

TEST_F(HttpRefusesTest, ConnectionWithoutRequestsEndsWithoutAWord) {
  start({.http = {.keep_alive = Milliseconds(20)}});
  EXPECT_EQ(wait_for_news(application()), Seen::kEnd);
}

}  // namespace
}  // namespace clonesafe::proxy
