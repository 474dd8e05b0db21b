#include "guest_agent/metrics/metrics_server.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/unit/agent/loop_fixture.h"

namespace clonesafe::agent {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class MetricsServerTest : public LoopTest {
 protected:
  void open() {
    auto server = MetricsServer::open(io_, path_, [this] {
      ++rendered_;
      return text_;
    });
    ASSERT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
  }
  // All that the server says until it closes the connection.
  std::string rest_of(const UniqueFd& client) {
    std::string answer;
    bool closed = false;
    run_until([&] {
      answer += hear(client, &closed);
      return closed;
    });
    return answer;
  }
  std::string ask(const std::string& request) {
    const UniqueFd client = connect_to(path_);
    say(client, request);
    return rest_of(client);
  }

  std::string path_ = folder_ / "metrics.sock";
  std::string text_ = "clonesafed_x 1\n";
  int rendered_ = 0;
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsServerTest, AnswersAGetAndCloses) {
  open();
  for (const char* const request :
       {"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
        "GET /metrics?a=b HTTP/1.1\n\n"}) {
    const std::string answer = ask(request);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n")) << request;
    EXPECT_THAT(answer,
                HasSubstr("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    EXPECT_THAT(answer, HasSubstr("\r\nContent-Length: 15\r\n"));
    EXPECT_THAT(answer, EndsWith("\r\n\r\nclonesafed_x 1\n"));
  }
  EXPECT_EQ(rendered_, 3);
}

TEST_F(MetricsServerTest, RefusesAllElse) {
  open();
  EXPECT_THAT(ask("GET /secret HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(ask("GET /metrics/.. HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  const std::string post = ask("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_THAT(post, StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(post, HasSubstr("\r\nAllow: GET\r\n"));
  for (const char* const request :
       {"GET /metrics\r\n\r\n", "GET /metrics HTTP/2.0\r\n\r\n", "\r\n\r\n", " \r\n\r\n",
        "GET  HTTP/1.1\r\n\r\n", "GET / a HTTP/1.1\r\n\r\n", "\x16\x03\x01\n\n",
        "{\"command\":\"status\"}\n\n"}) {
    EXPECT_THAT(ask(request), StartsWith("HTTP/1.1 400 ")) << request;
  }
  EXPECT_EQ(rendered_, 0);
}

TEST_F(MetricsServerTest, RequestMayComeInPieces) {
  open();
  const UniqueFd client = connect_to(path_);
  for (const char c : std::string("GET /metrics HTTP/1.1\r\nHost: x\r\n\r")) {
    say(client, std::string(1, c));
    io_.restart();
    io_.poll();
  }
  EXPECT_EQ(hear(client), "");
  say(client, "\n");
  EXPECT_THAT(rest_of(client), StartsWith("HTTP/1.1 200 "));
}

TEST_F(MetricsServerTest, EndlessRequestIsRefused) {
  open();
  EXPECT_THAT(ask("GET /metrics HTTP/1.1\r\nX: " + std::string(8192, 'x')),
              StartsWith("HTTP/1.1 400 "));
  const std::string head = "GET /metrics HTTP/1.1\r\nX: ";
  EXPECT_THAT(ask(head + std::string(4096 - head.size() - 4, 'x') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 200 "));
}

TEST_F(MetricsServerTest, ClientThatGoesAwayIsForgotten) {
  open();
  text_ = std::string(1 << 20, 'x');
  for (int i = 0; i < 40; ++i) {
    UniqueFd client = connect_to(path_);
    if (i % 2 == 0) say(client, "GET / HTTP/1.1\r\n\r\n");
    client.reset();
    io_.restart();
    io_.poll();
  }
  EXPECT_THAT(ask("GET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(MetricsServerTest, HalfARequestThatEndsIsABadOne) {
  open();
  const UniqueFd client = connect_to(path_);
  say(client, "GET /metrics HTTP/1.1\r\n");
  ::shutdown(client.get(), SHUT_WR);
  EXPECT_THAT(rest_of(client), StartsWith("HTTP/1.1 400 "));
}

TEST_F(MetricsServerTest, OneTooManyIsTurnedAwayUntilAnotherLeaves) {
  open();
  // A silent client holds a place. Root may have all 16, anybody else 8.
  std::vector<UniqueFd> silent;
  const std::size_t most = ::getuid() == 0 ? 16 : 8;
  while (silent.size() < most) silent.push_back(connect_to(path_));
  io_.restart();
  io_.run_for(std::chrono::milliseconds(20));
  const UniqueFd refused = connect_to(path_);
  EXPECT_EQ(rest_of(refused), "");
  silent.pop_back();
  io_.restart();
  io_.run_for(std::chrono::milliseconds(20));
  EXPECT_THAT(ask("GET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(MetricsServerTest, SilentClientAndOneThatDoesNotReadAreClosed) {
  open();
  text_ = std::string(1 << 22, 'x');
  const UniqueFd silent = connect_to(path_);
  const UniqueFd deaf = connect_to(path_);
  say(deaf, "GET / HTTP/1.1\r\n\r\n");
  io_.restart();
  io_.run_for(std::chrono::milliseconds(5500));
  bool closed = false;
  hear(silent, &closed);
  EXPECT_TRUE(closed);
  const std::string answer = hear(deaf, &closed);
  EXPECT_TRUE(closed);
  EXPECT_LT(answer.size(), text_.size());
}

TEST_F(MetricsServerTest, EveryUserMayConnect) {
  open();
  struct stat status = {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0666u);
}

TEST_F(MetricsServerTest, FileInItsPlaceIsNotRemoved) {
  folder_.write("metrics.sock", "precious");
  EXPECT_FALSE(MetricsServer::open(io_, path_, [] { return std::string(); }));
  EXPECT_EQ(folder_.read("metrics.sock"), "precious");
}

}  // namespace
}  // namespace clonesafe::agent
