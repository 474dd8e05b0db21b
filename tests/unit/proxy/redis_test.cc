// Redis sessions from one connection to the next.
#include <poll.h>
#include <signal.h>

#include "tests/unit/proxy/redis_fixture.h"

namespace clonesafe::proxy {
namespace {

TEST_F(RedisTest, SessionGoesOnInACloneAsItWas) {
  const Client application = client();
  application.ask("SELECT 3", "+OK\r\n");
  application.ask("CLIENT SETNAME worker", "+OK\r\n");
  application.ask("SET key before", "+OK\r\n");
  clone();
  application.ask("GET key", bulk("before"));
  application.ask("CLIENT GETNAME", bulk("worker"));
  // The parent's connection is open still: the server has both.
  const Client other = direct();
  other.ask("SELECT 3", "+OK\r\n");
  other.ask("GET key", bulk("before"));
  EXPECT_EQ(worker_->service(0).counts().reopened, 1u);
  EXPECT_EQ(worker_->service(0).counts().fenced, 1u);
}

TEST_F(RedisTest, PasswordIsGivenToTheNextConnection) {
  direct().ask("CONFIG SET requirepass secret", "+OK\r\n");
  const Client application = client();
  application.ask("GET key", "-NOAUTH Authentication required.\r\n");
  application.ask("AUTH secret", "+OK\r\n");
  clone();
  application.ask("GET key", "$-1\r\n");
}

TEST_F(RedisTest, SessionThatIsNotTakenAnyMoreEndsWithAnError) {
  direct().ask("CONFIG SET requirepass secret", "+OK\r\n");
  const Client application = client();
  application.ask("AUTH secret", "+OK\r\n");
  const Client other = direct();
  other.ask("AUTH secret", "+OK\r\n");
  other.ask("CONFIG SET requirepass changed", "+OK\r\n");
  clone();
  application.ask("GET key",
                  "-ERR clonesafe-proxy: the new connection does not take the session: ");
  EXPECT_EQ(receive(application.fd, 1000).substr(0, 9), "WRONGPASS");
  EXPECT_EQ(wait_for_news(application.fd), Seen::kEnd);
}

TEST_F(RedisTest, SubscriptionsAreThereInTheCloneWithoutBeingAskedFor) {
  const Client application = client();
  application.ask("SUBSCRIBE news sport", "*3\r\n" + bulk("subscribe") + bulk("news") +
                                              ":1\r\n*3\r\n" + bulk("subscribe") + bulk("sport") +
                                              ":2\r\n");
  application.ask("PSUBSCRIBE w*", "*3\r\n" + bulk("psubscribe") + bulk("w*") + ":3\r\n");
  clone();
  // The application says nothing, and hears what is published once its connection is there.
  const Client other = direct();
  ASSERT_TRUE(support::eventually(std::chrono::seconds(20), [&] {
    other.say("PUBLISH weather rain");
    EXPECT_EQ(receive(other.fd, 4).front(), ':');
    pollfd entry{.fd = application.fd.get(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 50) == 1;
  }));
  const std::string message =
      "*4\r\n" + bulk("pmessage") + bulk("w*") + bulk("weather") + bulk("rain");
  application.hear(message);
  // How many get it depends on whether the parent's connection has been missed by now.
  other.say("PUBLISH news hello");
  EXPECT_EQ(receive(other.fd, 4).front(), ':');
  application.hear("*3\r\n" + bulk("message") + bulk("news") + bulk("hello"));
  application.ask("UNSUBSCRIBE sport", "*3\r\n" + bulk("unsubscribe") + bulk("sport") + ":2\r\n");
}

TEST_F(RedisTest, PushesOfResp3AreCarriedAndTrackingStartsAnew) {
  const Client application = client();
  application.say("HELLO 3");
  ASSERT_NE(receive(application.fd, 1), "");
  while (!::testing::Test::HasFailure()) {
    pollfd entry{.fd = application.fd.get(), .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, 200) == 0) break;
    receive(application.fd, 1);
  }
  application.ask("CLIENT TRACKING ON", "+OK\r\n");
  application.ask("GET key", "_\r\n");
  clone();
  application.ask("GET key", ">2\r\n" + bulk("invalidate") + "_\r\n_\r\n");
  direct().ask("SET key new", "+OK\r\n");
  application.hear(">2\r\n" + bulk("invalidate") + "*1\r\n" + bulk("key"));
}

TEST_F(RedisTest, TransactionThatWatchesNothingBeginsAnew) {
  const Client application = client();
  application.ask("MULTI", "+OK\r\n");
  application.ask("INCR a", "+QUEUED\r\n");
  clone();
  application.ask("INCR b", "+QUEUED\r\n");
  application.ask("EXEC", "*2\r\n:1\r\n:1\r\n");
}

TEST_F(RedisTest, TransactionThatIsTooLongToBeKeptIsGivenUp) {
  const Client application = client();
  application.ask("MULTI", "+OK\r\n");
  application.ask("SET small 1", "+QUEUED\r\n");
  const std::string large(300'000, 'x');
  application.say("*3\r\n" + bulk("SET") + bulk("large") + bulk(large));
  application.hear("+QUEUED\r\n");
  clone();
  application.ask("EXEC", "*-1\r\n");
  application.ask("EXISTS small large", ":0\r\n");
}

void set_in_transaction(const auto& application, const std::string& done) {
  application.ask("MULTI", "+OK\r\n");
  application.ask("SET a mine", "+QUEUED\r\n");
  application.ask("EXEC", done);
}

// The key may have been changed while nobody watched it.
TEST_F(RedisTest, TransactionThatWatchesIsAborted) {
  const Client application = client();
  application.ask("WATCH a", "+OK\r\n");
  application.ask("GET a", "$-1\r\n");
  clone();
  set_in_transaction(application, "*-1\r\n");
  application.ask("GET a", "$-1\r\n");
  // The next one is not.
  application.ask("WATCH a", "+OK\r\n");
  set_in_transaction(application, "*1\r\n+OK\r\n");
}

// Of two commands under way at the clone one only reads; of the other nobody knows.
TEST_F(RedisTest, WhatWasUnderWayIsRepeatedOrAnErrorAndNeverDoneTwice) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  const std::string commands = "GET key\r\nINCR counter\r\nGET key\r\n";
  const UniqueFd parents = under_way(application, commands, upstream);
  clone();
  const UniqueFd clones = accept_from(upstream);
  const std::string again = "GET key\r\nGET key\r\n";
  EXPECT_EQ(receive(clones, again.size()), again);
  send_all(clones, bulk("first") + bulk("last"));
  application.hear(bulk("first") +
                   "-ERR clonesafe-proxy: the connection was lost, as in a clone; whether the "
                   "command was done is not known\r\n" +
                   bulk("last"));
  EXPECT_TRUE(sees_nothing(parents));
}

// Half a reply can be neither taken back nor finished.
TEST_F(RedisTest, ReplyThatCameInPartEndsTheSession) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  const UniqueFd parents = under_way(application, "GET key\r\n", upstream);
  send_all(parents, "$10\r\n01234");
  application.hear("$10\r\n01234");
  clone();
  EXPECT_EQ(wait_for_news(application.fd), Seen::kReset);
}

// What the server never had whole it never did.
TEST_F(RedisTest, CommandThatWasSentInPartIsSentAgain) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  const std::string begin = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nva";
  send_all(application.fd, begin);
  const UniqueFd parents = accept_from(upstream);
  ASSERT_EQ(receive(parents, 20), begin.substr(0, 20));
  clone();
  send_all(application.fd, "lue\r\n");
  const UniqueFd clones = accept_from(upstream);
  EXPECT_EQ(receive(clones, begin.size() + 5), begin + "lue\r\n");
  send_all(clones, "+OK\r\n");
  application.hear("+OK\r\n");
}

TEST_F(RedisTest, ServerThatSaysNoMoreBeforeItIsReadFromTakesTheSession) {
  const UniqueFd upstream = play_server();
  const Client application = client();
  constexpr int kTimes = 8, kChannels = 800;  // a command has at most 1 MiB
  int channel = 1'000;
  std::string commands, all, confirmed;
  for (int i = 0; i < kTimes; ++i) {
    commands += "*" + std::to_string(kChannels + 1) + "\r\n" + bulk("SUBSCRIBE");
    for (int j = 0; j < kChannels; ++j, ++channel) {
      const std::string name = bulk(std::to_string(channel) + std::string(1'000, 'c'));
      commands += name;
      all += name;
      confirmed += "*3\r\n" + bulk("subscribe") + name + ":1\r\n";
    }
  }
  std::jthread writer([&] { send_all(application.fd, commands); });
  const UniqueFd parents = accept_from(upstream);
  ASSERT_TRUE(receive(parents, commands.size()) == commands);
  std::jthread answerer([&] { send_all(parents, confirmed); });
  EXPECT_TRUE(receive(application.fd, confirmed.size()) == confirmed);
  have_small_buffers(upstream);
  clone();
  application.say("PING");
  const UniqueFd clones = accept_from(upstream);
  give_up_sending_after(clones, std::chrono::seconds(20));
  send_all(clones, confirmed);
  const std::string again =
      "*" + std::to_string(kTimes * kChannels + 1) + "\r\n" + bulk("SUBSCRIBE") + all;
  EXPECT_TRUE(receive(clones, again.size()) == again);
  EXPECT_EQ(receive(clones, 6), "PING\r\n");
}

TEST_F(RedisTest, ServerThatRestartsIsNoEndEither) {
  const Client application = client();
  application.ask("SELECT 2", "+OK\r\n");
  server_->signal(SIGTERM);
  ASSERT_TRUE(server_->wait(std::chrono::seconds(20)));
  run_server();
  application.ask("SET key value", "+OK\r\n");
  const Client other = direct();
  other.ask("SELECT 2", "+OK\r\n");
  other.ask("GET key", bulk("value"));
}

TEST_F(RedisTest, LargeValuesPassThrough) {
  const Client application = client();
  const std::string value(3'000'000, 'v');
  std::thread writer(
      [&] { send_all(application.fd, "*3\r\n" + bulk("SET") + bulk("key") + bulk(value)); });
  application.hear("+OK\r\n");
  writer.join();
  application.say("GET key");
  const std::string expected = bulk(value);
  EXPECT_TRUE(receive(application.fd, expected.size()) == expected);
}

TEST_F(RedisTest, WhatIsNoCommandEndsTheSessionWithAnError) {
  const Client application = client();
  application.ask("PING", "+PONG\r\n");
  application.say("*1\r\n$x");
  EXPECT_EQ(receive(application.fd, 1000).substr(0, 36), "-ERR clonesafe-proxy: Protocol error");
  EXPECT_EQ(wait_for_news(application.fd), Seen::kEnd);
}

TEST_F(RedisTest, ParkedItsConnectionIsClosedAndTheSessionGoesOn) {
  const Client application = client();
  application.ask("SELECT 3", "+OK\r\n");
  application.ask("SET key before", "+OK\r\n");
  const auto parked = worker_->park({.part = true, .deadline = std::chrono::seconds(20)}).get();
  ASSERT_EQ(parked.size(), 1u);
  EXPECT_EQ(parked[0].upstreams.open, 0u);
  application.say("GET key");
  EXPECT_EQ(worker_->census()[0].upstreams.open, 0u);
  worker_->unpark();
  application.hear(bulk("before"));
}

TEST_F(RedisTest, TransactionIsNotParted) {
  const Client application = client();
  application.ask("MULTI", "+OK\r\n");
  const auto parked =
      worker_->park({.part = true, .deadline = std::chrono::milliseconds(30)}).get();
  ASSERT_EQ(parked.size(), 1u);
  EXPECT_EQ(parked[0].upstreams.open, 1u);
  worker_->unpark();
  application.ask("EXEC", "*0\r\n");
}

}  // namespace
}  // namespace clonesafe::proxy
