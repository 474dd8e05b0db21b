// Redis sessions as they are without a clone: applications that leave, or are far ahead, and what
// comes that can't be told apart.
#include <sys/socket.h>

#include "tests/unit/proxy/captured_log.h"
#include "tests/unit/proxy/redis_fixture.h"

namespace clonesafe::proxy {
namespace {

class RedisEndsTest : public RedisTest {
 protected:
  static void say_no_more(const Client& application) { ::shutdown(application.fd.get(), SHUT_WR); }
  static UniqueFd say_last(const Client& application, const std::string& commands,
                           const UniqueFd& upstream) {
    send_all(application.fd, commands);
    say_no_more(application);
    UniqueFd server = accept_from(upstream);
    EXPECT_EQ(receive(server, 1'000), commands) << "and then the end";
    return server;
  }
  // Nothing but bytes is carried any more, so a clone can't go on with it.
  void expect_end_in_a_clone(const Client& application) {
    clone();
    EXPECT_EQ(wait_for_news(application.fd), Seen::kReset);
  }
  static std::string confirmation(const std::string& kind, const std::string& channel, int count) {
    return "*3\r\n" + bulk(kind) + bulk(channel) + ":" + std::to_string(count) + "\r\n";
  }
};

TEST_F(RedisEndsTest, ApplicationThatSaysNoMoreGetsItsReplies) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  const UniqueFd server = say_last(application, "INCR counter\r\nGET counter\r\n", upstream);
  send_all(server, ":1\r\n$1\r\n1\r\n");
  application.hear(":1\r\n$1\r\n1\r\n");
  ::shutdown(server.get(), SHUT_WR);
  EXPECT_EQ(wait_for_news(application.fd), Seen::kEnd);
}

TEST_F(RedisEndsTest, ApplicationThatSaysNoMoreGetsItsRepliesInAClone) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  const UniqueFd parents = say_last(application, "GET key\r\n", upstream);
  clone();
  const UniqueFd clones = accept_from(upstream);
  EXPECT_EQ(receive(clones, 1000), "GET key\r\n");
  send_all(clones, "$1\r\nv\r\n");
  application.hear("$1\r\nv\r\n");
  EXPECT_EQ(wait_for_news(application.fd), Seen::kEnd);
}

// What it waits for is not taken from others by a server that doesn't know that it left.
TEST_F(RedisEndsTest, ServerIsToldOfAnApplicationThatLeftWhileItBlocked) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  const UniqueFd server = under_way(application, "BLPOP list 0\r\n", upstream);
  say_no_more(application);
  EXPECT_EQ(wait_for_news(server), Seen::kEnd);
  ::shutdown(server.get(), SHUT_WR);
  EXPECT_EQ(wait_for_news(application.fd), Seen::kEnd);
}

TEST_F(RedisEndsTest, SubscriberThatLeavesIsLetGo) {
  const Client application = client();
  application.ask("SUBSCRIBE news", confirmation("subscribe", "news", 1));
  say_no_more(application);
  EXPECT_EQ(wait_for_news(application.fd), Seen::kEnd);
  worker_.wait_for_ends();
}

TEST_F(RedisEndsTest, CommandsBeforeAMistakeAreAnswered) {
  const Client application = client();
  application.say("SET key value\r\nGET key\r\n*1\r\n$x");
  application.hear("+OK\r\n" + bulk("value") + "-ERR clonesafe-proxy: Protocol error");
  receive(application.fd, 1000);
  EXPECT_EQ(wait_for_news(application.fd), Seen::kEnd);
}

TEST_F(RedisEndsTest, TransactionOfWhichTheEndIsNotKnownIsNotBegunAnew) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  application.say("MULTI\r\nINCR counter\r\nEXEC");
  const UniqueFd parents = accept_from(upstream);
  EXPECT_EQ(receive(parents, 27), "MULTI\r\nINCR counter\r\nEXEC\r\n");
  send_all(parents, "+OK\r\n+QUEUED\r\n");
  application.hear("+OK\r\n+QUEUED\r\n");
  clone();
  const std::string unknown = "-ERR clonesafe-proxy: the connection was lost";
  application.hear(unknown);
  receive(application.fd, 1);
  application.say("PING");
  EXPECT_EQ(receive(accept_from(upstream), 6), "PING\r\n");
}

TEST_F(RedisEndsTest, ReplyThatNobodyAskedForEndsTheSession) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  application.say("PING");
  const UniqueFd server = accept_from(upstream);
  send_all(server, "+PONG\r\n");
  application.hear("+PONG\r\n");
  send_all(server, "$6\r\nsecret\r\n");
  application.hear("-ERR clonesafe-proxy: a reply that nobody asked for\r\n");
  EXPECT_EQ(wait_for_news(application.fd), Seen::kEnd);
}

TEST_F(RedisEndsTest, ApplicationFarAheadOfItsServerWaits) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  std::string most;
  for (int i = 0; i < 8192; ++i) most += "PING\r\n";
  send_all(application.fd, most);
  const UniqueFd server = accept_from(upstream);
  ASSERT_TRUE(receive(server, most.size()) == most);
  application.say("GET key");
  // Whoever comes later is served, so its turn has come.
  const Client other = client();
  other.say("PING");
  const UniqueFd others = accept_from(upstream);
  EXPECT_EQ(receive(others, 6), "PING\r\n");
  EXPECT_TRUE(sees_nothing(server));
  send_all(server, "+PONG\r\n");
  EXPECT_EQ(receive(server, 9), "GET key\r\n");
}

TEST_F(RedisEndsTest, ApplicationIsToldThatAllConnectionsAreInUse) {
  ServiceConfig config{.name = "cache", .protocol = Protocol::kRedis, .hold = Milliseconds(1)};
  config.upstream.max_connections = 1;
  const std::string reason = "all connections to the upstream are in use (max_connections)";
  const CapturedLog log;
  port_ = 0;
  worker_.start(config, kFar, server_port_, listen_on("127.0.0.1", port_));
  {
    const Client first = client();
    first.ask("PING", "+PONG\r\n");
    const Client second = client();
    second.ask("PING", "-ERR clonesafe-proxy: " + reason + "\r\n");
    EXPECT_EQ(wait_for_news(second.fd), Seen::kEnd);
  }
  worker_.wait_for_ends();
  EXPECT_THAT(log.text(), testing::HasSubstr("cache: no upstream for 127.0.0.1:"));
  EXPECT_THAT(log.text(), testing::HasSubstr(": " + reason));
}

// In RESP3 what comes unasked is marked; a list that looks like it is a list.
TEST_F(RedisEndsTest, ListThatLooksLikeAConfirmationIsAReply) {
  const Client application = client();
  application.say("HELLO 3\r\nECHO end");
  for (std::string got; !got.ends_with(bulk("end"));) {
    got += receive(application.fd, 1);
    ASSERT_LT(got.size(), 1000u);
  }
  application.ask("SUBSCRIBE news", ">3\r\n" + bulk("subscribe") + bulk("news") + ":1\r\n");
  application.ask("RPUSH list unsubscribe news 0", ":3\r\n");
  application.ask("LRANGE list 0 -1", "*3\r\n" + bulk("unsubscribe") + bulk("news") + bulk("0"));
  application.ask("LLEN list", ":3\r\n");
  // Nothing is under way that would be asked for again.
  clone();
  application.ask("PING", "+PONG\r\n");
}

TEST_F(RedisEndsTest, UnsubscribingFromAllIsDoneWithTheLastOne) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  const std::string commands = "SUBSCRIBE a b\r\nUNSUBSCRIBE\r\nSUBSCRIBE c\r\n";
  const UniqueFd parents = under_way(application, commands, upstream);
  const std::string confirmed = confirmation("subscribe", "a", 1) +
                                confirmation("subscribe", "b", 2) +
                                confirmation("unsubscribe", "a", 1);
  send_all(parents, confirmed);
  application.hear(confirmed);
  clone();
  application.say("PING");
  // What is left, of which the application hears nothing; then what was under way.
  const UniqueFd clones = accept_from(upstream);
  const std::string again = "*2\r\n" + bulk("SUBSCRIBE") + bulk("b") + "UNSUBSCRIBE\r\n*2\r\n" +
                            bulk("SUBSCRIBE") + bulk("c");
  ASSERT_EQ(receive(clones, again.size()), again);
  const std::string rest = confirmation("unsubscribe", "b", 0) + confirmation("subscribe", "c", 1);
  send_all(clones, confirmation("subscribe", "b", 1) + rest + "*2\r\n" + bulk("pong") + bulk(""));
  application.hear(rest + "*2\r\n" + bulk("pong") + bulk(""));
}

TEST_F(RedisEndsTest, ReplicationIsCarriedAsItIs) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  const UniqueFd server = under_way(application, "PING\r\nSYNC\r\n", upstream);
  // Newlines while it prepares, a length, and bytes that are no value.
  const std::string stream = "+PONG\r\n\n\n$5\r\nhello*1\r\n$4\r\nPING\r\n";
  send_all(server, stream);
  application.hear(stream);
  application.say("REPLCONF ACK 14");
  EXPECT_EQ(receive(server, 17), "REPLCONF ACK 14\r\n");
  send_all(server, "*1\r\n$4\r\nPING\r\n");
  application.hear("*1\r\n$4\r\nPING\r\n");
  expect_end_in_a_clone(application);
}

TEST_F(RedisEndsTest, MonitorIsCarriedAsItIs) {
  const Client application = client();
  application.ask("MONITOR", "+OK\r\n");
  direct().ask("SET key value", "+OK\r\n");
  std::string line;
  while (!line.ends_with("\r\n") && line.size() < 1000) line += receive(application.fd, 1);
  EXPECT_THAT(line, testing::EndsWith("\"SET\" \"key\" \"value\"\r\n"));
  application.ask("QUIT", "+OK\r\n");
  EXPECT_EQ(wait_for_news(application.fd), Seen::kEnd);
  const Client other = client();
  other.ask("MONITOR", "+OK\r\n");
  expect_end_in_a_clone(other);
}

TEST_F(RedisEndsTest, SilencedRepliesAreNotWaitedFor) {
  const Client application = client();
  application.ask("CLIENT REPLY SKIP\r\nSET key 1\r\nINCR key", ":2\r\n");
  application.ask("CLIENT REPLY OFF\r\nINCR key\r\nCLIENT REPLY ON", "+OK\r\n");
  application.ask("GET key", bulk("3"));
  expect_end_in_a_clone(application);
}

TEST_F(RedisEndsTest, SubscriptionInATransactionIsCarriedAsItIs) {
  const Client application = client();
  application.ask("MULTI", "+OK\r\n");
  application.ask("SUBSCRIBE news", "+QUEUED\r\n");
  application.ask("EXEC", "*1\r\n" + confirmation("subscribe", "news", 1));
  direct().ask("PUBLISH news hello", ":1\r\n");
  application.hear("*3\r\n" + bulk("message") + bulk("news") + bulk("hello"));
  expect_end_in_a_clone(application);
}

}  // namespace
}  // namespace clonesafe::proxy
