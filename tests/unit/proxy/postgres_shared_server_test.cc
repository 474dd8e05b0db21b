// Applications that share a connection, at exact moments: the test plays the server.
#include "tests/unit/proxy/postgres_played_server.h"

namespace clonesafe::proxy {
namespace {

class PostgresSharedServerTest : public ProxyTest {
 protected:
  explicit PostgresSharedServerTest(Milliseconds hold = Milliseconds(20'000)) {
    enter_network();
    listener_ = listen_on(kFar, port_);
    proxy_.emplace(PostgresProxy::pooling(port_, 1, hold));
    one_.emplace(proxy_->connect());
    two_.emplace(proxy_->connect());
    std::thread server([this] { server_.emplace(accept()); });
    EXPECT_EQ(one_->log_in("postgres"), "");
    server.join();
    // Without a server: the proxy knows by now what it is told.
    EXPECT_EQ(two_->log_in("postgres"), "");
  }
  PostgresPeer accept() {
    PostgresPeer peer(accept_from(listener_));
    peer.welcome(++process_);
    return peer;
  }
  // The server is full.
  void refuse_next() {
    const PostgresPeer peer(accept_from(listener_));
    peer.refuse(error("FATAL", "53300"));
  }
  static void expect_at(const PostgresPeer& server, const std::string& messages) {
    EXPECT_EQ(receive(server.fd(), messages.size()), messages);
  }
  void exchange(const PostgresPeer& application, const std::string& sql, const std::string& tag,
                char status) {
    application.send(query_message(sql));
    expect_at(*server_, query_message(sql));
    server_->send(done(tag) + ready(status));
    EXPECT_EQ(application.answer(), tag + " " + status);
  }
  bool waits(std::uint64_t so_many) {
    return support::eventually(std::chrono::seconds(20),
                               [&] { return proxy_->counts().waited == so_many; });
  }

  int port_ = 0;
  std::uint32_t process_ = 0;
  UniqueFd listener_;
  std::optional<PostgresProxy> proxy_;
  std::optional<PostgresPeer> one_, two_, server_;
};

TEST_F(PostgresSharedServerTest, ConnectionGoesFromOneToTheOther) {
  exchange(*one_, "SELECT 1", "SELECT 1", 'I');
  exchange(*two_, "SELECT 2", "SELECT 1", 'I');
  exchange(*one_, "BEGIN", "BEGIN", 'T');
  two_->send(query_message("SELECT 3"));
  ASSERT_TRUE(waits(1));
  exchange(*one_, "COMMIT", "COMMIT", 'I');
  expect_at(*server_, query_message("SELECT 3"));
}

// What was answered so far is a transaction that the server has open still.
TEST_F(PostgresSharedServerTest, GroupWithoutItsSyncKeepsTheConnection) {
  one_->send(parse_message("", "SELECT 1") + kFlush);
  expect_at(*server_, parse_message("", "SELECT 1") + kFlush);
  server_->send(kParseComplete);
  EXPECT_EQ(one_->receive().type, '1');
  two_->send(query_message("SELECT 2"));
  ASSERT_TRUE(waits(1));
  EXPECT_TRUE(sees_nothing(server_->fd()));
  one_->send(sync_message());
  expect_at(*server_, sync_message());
  server_->send(ready('I'));
  EXPECT_EQ(one_->answer(), "I");
  expect_at(*server_, query_message("SELECT 2"));
}

// The session must not begin with another's settings, or with half of its own.
TEST_F(PostgresSharedServerTest, ConnectionThatRefusesASettingIsNotUsed) {
  exchange(*one_, "SET a.a = 1", "SET", 'I');
  two_->send(query_message("SELECT 2"));
  expect_at(*server_, query_message("RESET a.a;"));
  EXPECT_TRUE(sees_nothing(server_->fd())) << "before it is settled";
  server_->send(error("ERROR", "42501") + ready('I'));
  const PostgresPeer next = accept();
  expect_at(next, query_message("SELECT 2"));
  EXPECT_EQ(wait_for_news(server_->fd()), Seen::kEnd);
  next.send(done("SELECT 2") + ready('I'));
  EXPECT_EQ(two_->answer(), "SELECT 2 I");
}

TEST_F(PostgresSharedServerTest, NewConnectionThatRefusesASettingEndsTheSession) {
  exchange(*one_, "SET a.a = 1", "SET", 'I');
  proxy_->clone();
  one_->send(query_message("SELECT 1"));
  const PostgresPeer next = accept();
  expect_at(next, query_message("SET a.a = 1;"));
  next.send(error("ERROR", "42501") + ready('I'));
  EXPECT_EQ(one_->answer(), "!42501 end");
  EXPECT_TRUE(sees_nothing(server_->fd())) << "not a byte to the parent's";
}

TEST_F(PostgresSharedServerTest, AnswersToWhatTheProxySaysGoNowhere) {
  exchange(*one_, "SET a.a = 1", "SET", 'I');
  two_->send(query_message("SELECT 2"));
  expect_at(*server_, query_message("RESET a.a;"));
  server_->send(done("RESET") + ready('I'));
  expect_at(*server_, query_message("SELECT 2"));
  server_->send(done("SELECT 2") + ready('I'));
  EXPECT_EQ(two_->answer(), "SELECT 2 I");
  EXPECT_TRUE(sees_nothing(one_->fd()));
}

TEST_F(PostgresSharedServerTest, StatementsAreKnownByOtherNames) {
  one_->send(parse_message("mine", "SELECT 1") + sync_message());
  const PostgresMessage parse = server_->receive();
  EXPECT_EQ(parse.type, 'P');
  const std::string name = parse.body.substr(0, parse.body.find('\0'));
  EXPECT_TRUE(name.starts_with("clonesafe_")) << name;
  expect_at(*server_, sync_message());
  server_->send(kParseComplete + ready('I'));
  EXPECT_EQ(one_->answer(), "I");
  one_->send(bind_message("mine") + execute_message() + sync_message());
  expect_at(*server_, bind_message(name) + execute_message() + sync_message());
  server_->send(kBindComplete + done("SELECT 1") + ready('I'));
  EXPECT_EQ(one_->answer(), "SELECT 1 I");
  // Of the same text: as the application asks for it, it is made anew.
  two_->send(parse_message("yours", "SELECT 1") + sync_message());
  EXPECT_EQ(server_->receive().type, 'C');
  expect_at(*server_, parse_message(name, "SELECT 1") + sync_message());
  server_->send(kCloseComplete + kParseComplete + ready('I'));
  EXPECT_EQ(two_->receive().type, '1');
  EXPECT_EQ(two_->answer(), "I");
  // Another connection lacks it.
  proxy_->clone();
  one_->send(bind_message("mine") + execute_message() + sync_message());
  const PostgresPeer next = accept();
  expect_at(next, parse_message(name, "SELECT 1") + bind_message(name) + execute_message() +
                      sync_message());
  next.send(kParseComplete + kBindComplete + done("SELECT 1") + ready('I'));
  EXPECT_EQ(one_->receive().type, '2');
  EXPECT_EQ(one_->answer(), "SELECT 1 I");
}

// What the proxy sends in front of it has answers of its own.
TEST_F(PostgresSharedServerTest, LossAnswersOnlyWhatTheApplicationSent) {
  one_->send(parse_message("mine", "SELECT 1") + sync_message());
  EXPECT_EQ(server_->receive().type, 'P');
  expect_at(*server_, sync_message());
  server_->send(kParseComplete + ready('I'));
  EXPECT_EQ(one_->answer(), "I");
  one_->send(query_message("EXECUTE mine"));
  expect_at(*server_,
            parse_message("mine", "SELECT 1") + sync_message() + query_message("EXECUTE mine"));
  proxy_->clone();
  EXPECT_EQ(one_->answer(), "!40003 I");
  one_->send(query_message("SELECT 2"));
  const PostgresPeer next = accept();
  expect_at(next, query_message("SELECT 2"));
  next.send(done("SELECT 1") + ready('I'));
  EXPECT_EQ(one_->answer(), "SELECT 1 I");
}

TEST_F(PostgresSharedServerTest, ConnectionThatEndsWhileNobodyHasItIsReplaced) {
  server_->send(error("FATAL", "57P01"));
  server_.reset();
  one_->send(query_message("SELECT 1"));
  const PostgresPeer next = accept();
  expect_at(next, query_message("SELECT 1"));
  next.send(done("SELECT 1") + ready('I'));
  EXPECT_EQ(one_->answer(), "SELECT 1 I");
}

// It would cancel what the next one does.
TEST_F(PostgresSharedServerTest, ConnectionThatACancelIsOnItsWayToIsNotGivenToOthers) {
  one_->send(query_message("SELECT 1"));
  expect_at(*server_, query_message("SELECT 1"));
  const PostgresPeer canceller = proxy_->connect();
  canceller.send(std::string("\0\0\0\x10\x04\xd2\x16\x2e", 8) + one_->key());
  const UniqueFd cancel = accept_from(listener_);
  EXPECT_EQ(receive(cancel, 16).size(), 16u);
  two_->send(query_message("SELECT 2"));
  ASSERT_TRUE(waits(1));
  server_->send(done("SELECT 1") + ready('I'));
  EXPECT_EQ(one_->answer(), "SELECT 1 I");
  const PostgresPeer next = accept();
  expect_at(next, query_message("SELECT 2"));
  EXPECT_EQ(wait_for_news(server_->fd()), Seen::kEnd);
}

TEST_F(PostgresSharedServerTest, CloneWhileAConnectionIsSettledTakesAnother) {
  exchange(*one_, "SET a.a = 1", "SET", 'I');
  two_->send(query_message("SELECT 2"));
  expect_at(*server_, query_message("RESET a.a;"));
  proxy_->clone();
  const PostgresPeer next = accept();
  expect_at(next, query_message("SELECT 2"));
  EXPECT_TRUE(sees_nothing(server_->fd()));
}

TEST_F(PostgresSharedServerTest, PlaceOfALostConnectionIsFree) {
  exchange(*one_, "BEGIN", "BEGIN", 'T');
  one_->send(query_message("COMMIT"));
  expect_at(*server_, query_message("COMMIT"));
  two_->send(query_message("SELECT 2"));
  ASSERT_TRUE(waits(1));
  proxy_->clone();
  EXPECT_EQ(one_->answer(), "!08007 end");
  const PostgresPeer next = accept();
  expect_at(next, query_message("SELECT 2"));
  EXPECT_TRUE(sees_nothing(server_->fd()));
}

// Until then the server has it among those that it may have.
TEST_F(PostgresSharedServerTest, PlaceOfAConnectionIsFreeWhenTheServerHasEndedIt) {
  PostgresPeer three = proxy_->connect();
  std::thread login([&] { EXPECT_EQ(three.log_in("postgres", "", "another"), ""); });
  expect_at(*server_, std::string("X\0\0\0\4", 5));
  EXPECT_TRUE(sees_nothing(listener_));
  server_.reset();
  const PostgresPeer next = accept();
  login.join();
}

TEST_F(PostgresSharedServerTest, ServerThatIsFullIsWaitedFor) {
  proxy_->clone();
  one_->send(query_message("SELECT 1"));
  refuse_next();
  refuse_next();
  const PostgresPeer next = accept();
  expect_at(next, query_message("SELECT 1"));
  next.send(done("SELECT 1") + ready('I'));
  EXPECT_EQ(one_->answer(), "SELECT 1 I");
  EXPECT_EQ(proxy_->counts().waited, 1u);
  EXPECT_EQ(proxy_->counts().timed_out, 0u);
}

class PostgresImpatientTest : public PostgresSharedServerTest {
 protected:
  PostgresImpatientTest() : PostgresSharedServerTest(Milliseconds(100)) {}
};

// Nothing of it was sent.
TEST_F(PostgresImpatientTest, WhoeverFindsTheServerFullGetsAnErrorAndCanAskAgain) {
  proxy_->clone();
  one_->send(query_message("SELECT 1"));
  while (sees_nothing(one_->fd())) {
    if (!sees_nothing(listener_)) refuse_next();
  }
  ASSERT_EQ(one_->answer(), "!53300 I");
  EXPECT_EQ(proxy_->counts().waited, 1u);
  EXPECT_EQ(proxy_->counts().timed_out, 1u);
  one_->send(query_message("SELECT 1"));
  const PostgresPeer next = accept();
  expect_at(next, query_message("SELECT 1"));
  next.send(done("SELECT 1") + ready('I'));
  EXPECT_EQ(one_->answer(), "SELECT 1 I");
}

TEST_F(PostgresSharedServerTest, ApplicationThatEndsLeavesTheConnectionToOthers) {
  exchange(*one_, "SELECT 1", "SELECT 1", 'I');
  one_->send(std::string("X\0\0\0\4", 5));
  EXPECT_EQ(wait_for_news(one_->fd()), Seen::kEnd);
  exchange(*two_, "SELECT 2", "SELECT 1", 'I');
}

TEST_F(PostgresSharedServerTest, ParameterThatChangesIsToldToWhomItConcerns) {
  one_->send(query_message("SELECT 1"));
  expect_at(*server_, query_message("SELECT 1"));
  std::string change;
  EXPECT_TRUE(
      wire::postgres::append_parameter_status(change, {.name = "in_hot_standby", .value = "off"}));
  server_->send(change + done("SELECT 1") + ready('I'));
  EXPECT_EQ(one_->receive().type, 'S');
  EXPECT_EQ(one_->answer(), "SELECT 1 I");
  two_->send(query_message("SELECT 2"));
  expect_at(*server_, query_message("SELECT 2"));
  EXPECT_EQ(two_->receive().type, 'S');
}

}  // namespace
}  // namespace clonesafe::proxy
