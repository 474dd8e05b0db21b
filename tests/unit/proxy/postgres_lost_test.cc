// PostgreSQL sessions whose server is lost at exact moments: the test plays the server.
#include "proxy/wire/postgres/server_messages.h"
#include "tests/unit/proxy/captured_log.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/postgres_played_server.h"

namespace clonesafe::proxy {
namespace {

namespace pg = wire::postgres;

class PostgresLostTest : public PlayedPostgresTest {
 protected:
  void expect_cancel_is_dropped(const std::string& key) {
    const PostgresPeer canceller = proxy_->connect();
    canceller.send(std::string("\0\0\0\x10\x04\xd2\x16\x2e", 8) + key);
    EXPECT_EQ(wait_for_news(canceller.fd()), Seen::kEnd);
    EXPECT_TRUE(sees_nothing(listener_));
    EXPECT_TRUE(sees_nothing(server_->fd()));
  }
};

TEST_F(PostgresLostTest, CommitUnderWayIsReportedAsUnknownAndNeverRepeated) {
  exchange("BEGIN", "BEGIN", 'T');
  under_way(query_message("COMMIT"));
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!08007 end");
  EXPECT_TRUE(sees_nothing(listener_));
  EXPECT_TRUE(sees_nothing(server_->fd()));
}

TEST_F(PostgresLostTest, CommitOfAPreparedStatementIsUnknownToo) {
  exchange("BEGIN", "BEGIN", 'T');
  under_way(parse_message("c", "COMMIT") + bind_message("c") + execute_message() + sync_message());
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!08007 end");
}

TEST_F(PostgresLostTest, StatementUnderWayOutsideATransactionIsReportedAsUnknown) {
  under_way(query_message("INSERT INTO t VALUES (1)"));
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!40003 I");
  expect_goes_on();
}

TEST_F(PostgresLostTest, StatementUnderWayInATransactionFailsWithIt) {
  exchange("BEGIN", "BEGIN", 'T');
  under_way(query_message("INSERT INTO t VALUES (1)"));
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!40001 E");
  EXPECT_EQ(application_->query("COMMIT"), "ROLLBACK I");
  expect_goes_on();
}

TEST_F(PostgresLostTest, RollbackUnderWayIsDone) {
  exchange("BEGIN", "BEGIN", 'T');
  under_way(query_message("ROLLBACK"));
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "ROLLBACK I");
  expect_goes_on();
}

TEST_F(PostgresLostTest, FullServerIsWaitedForAndCounted) {
  proxy_->clone();
  application_->send(query_message("SELECT 1"));
  {
    const PostgresPeer peer(accept_from(listener_));
    peer.refuse(error("FATAL", "53300"));
  }
  const PostgresPeer next = accept();
  EXPECT_EQ(next.receive().type, 'Q');
  next.send(done("SELECT 1") + ready('I'));
  EXPECT_EQ(application_->answer(), "SELECT 1 I");
  EXPECT_EQ(proxy_->counts().waited, 1u);
  EXPECT_EQ(proxy_->counts().timed_out, 0u);
}

// All buffers are full before the last of what it is told is read.
TEST_F(PostgresLostTest, ServerThatSaysNoMoreBeforeItIsReadFromTakesTheSession) {
  constexpr int kStatements = 8;
  const std::string text = "SELECT '" + std::string(900'000, 'x') + "'";
  std::string messages, done_with_them, notices;
  for (int i = 0; i < kStatements; ++i) {
    messages += parse_message("s" + std::to_string(i), text);
    done_with_them += kParseComplete;
  }
  messages += sync_message();
  std::jthread sender([&] { application_->send(messages); });
  ASSERT_TRUE(receive(server_->fd(), messages.size()) == messages);
  server_->send(done_with_them + ready('I'));
  for (int i = 0; i < kStatements; ++i) EXPECT_EQ(application_->receive().type, '1');
  EXPECT_EQ(application_->answer(), "I");
  have_small_buffers(listener_);
  proxy_->clone();
  application_->send(query_message("SELECT 1"));
  const PostgresPeer next = accept();
  std::string notice = error("NOTICE", "00000");
  notice.front() = 'N';
  while (notices.size() < messages.size()) notices += notice;
  give_up_sending_after(next.fd(), std::chrono::seconds(20));
  next.send(notices);
  EXPECT_TRUE(receive(next.fd(), messages.size()) == messages);
  next.send(done_with_them + ready('I'));
  EXPECT_EQ(next.receive().type, 'Q');
  next.send(done("SELECT 1") + ready('I'));
  EXPECT_EQ(application_->answer(), "SELECT 1 I");
}

// The application may have used what it got.
TEST_F(PostgresLostTest, ReplyThatCameInPartEndsTheSession) {
  under_way(query_message("SELECT 1"));
  server_->send(done("SELECT 0"));
  EXPECT_EQ(application_->receive().type, 'C');
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!08006 end");
}

TEST_F(PostgresLostTest, HalfAMessageEndsTheSessionWithoutAnother) {
  under_way(query_message("SELECT 1"));
  server_->send(std::string("D\0\0\1\0\0\1", 7));
  EXPECT_EQ(receive(application_->fd(), 7).size(), 7u);
  proxy_->clone();
  EXPECT_EQ(wait_for_news(application_->fd()), Seen::kReset);
}

TEST_F(PostgresLostTest, HalfAMessageInATransactionEndsTheSessionToo) {
  exchange("BEGIN", "BEGIN", 'T');
  under_way(query_message("SELECT 1"));
  server_->send(std::string("D\0\0\1\0\0\1", 7));
  EXPECT_EQ(receive(application_->fd(), 7).size(), 7u);
  proxy_->clone();
  EXPECT_EQ(wait_for_news(application_->fd()), Seen::kReset);
}

TEST_F(PostgresLostTest, CopyUnderWayEndsTheSession) {
  under_way(query_message("COPY t FROM STDIN"));
  server_->send(std::string("G\0\0\0\x09\0\0\1\0\0", 10));
  EXPECT_EQ(application_->receive().type, 'G');
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!08006 end");
}

TEST_F(PostgresLostTest, CopyUnderWayInATransactionEndsTheSessionToo) {
  exchange("BEGIN", "BEGIN", 'T');
  under_way(query_message("COPY t FROM STDIN"));
  server_->send(std::string("G\0\0\0\x09\0\0\1\0\0", 10));
  EXPECT_EQ(application_->receive().type, 'G');
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!08006 end");
}

// What the application sends of a group that has failed already is left out up to its Sync.
TEST_F(PostgresLostTest, GroupWithoutItsSyncFailsAsAWhole) {
  under_way(parse_message("", "INSERT INTO t VALUES (1)") + bind_message(""));
  proxy_->clone();
  EXPECT_EQ(application_->receive().type, 'E');
  application_->send(execute_message() + sync_message());
  EXPECT_EQ(application_->answer(), "I");
  expect_goes_on();
}

// Nor with what the session commits afterwards.
TEST_F(PostgresLostTest, SettingOfATransactionThatWasLostIsNeverSaidAgain) {
  exchange("BEGIN", "BEGIN", 'T');
  exchange("SET work_mem TO '7MB'", "SET", 'T');
  proxy_->clone();
  EXPECT_EQ(application_->query("ROLLBACK"), "ROLLBACK I");
  expect_goes_on();
  proxy_->clone();
  application_->send(query_message("SELECT 2"));
  const PostgresPeer next = accept();
  EXPECT_EQ(next.receive().body, std::string("SELECT 2\0", 9));
}

// The rest of a message that began on the old connection is not a message of the new one.
TEST_F(PostgresLostTest, RestOfAMessageIsLeftOut) {
  const std::string message = query_message("SELECT '" + std::string(2'000'000, 'x') + "'");
  const std::string head = message.substr(0, 1'500'000);
  application_->send(head);
  EXPECT_EQ(receive(server_->fd(), 1000), head.substr(0, 1000));
  proxy_->clone();
  // It is too long to be looked at, so that nobody knows what it might have done.
  EXPECT_EQ(application_->receive().type, 'E');
}

TEST_F(PostgresLostTest, GroupsThatFollowEachOtherAreAnsweredOneByOne) {
  under_way(query_message("SELECT 1") + query_message("SELECT 2"));
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!40003 I");
  EXPECT_EQ(application_->answer(), "!40003 I");
  expect_goes_on();
}

TEST_F(PostgresLostTest, AccessLogSaysHowASessionEnded) {
  const CapturedLog log;
  under_way(query_message("BEGIN; COMMIT"));
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!08007 end");
  proxy_->wait_for_ends();
  EXPECT_THAT(log.text(), testing::HasSubstr("access: service=database from=127.0.0.1:"));
  EXPECT_THAT(log.text(), testing::HasSubstr("end=\"cloned\""));
}

TEST_F(PostgresLostTest, ServerThatSaysFarewellIsReplaced) {
  std::string farewell;
  EXPECT_TRUE(pg::append_error(
      farewell, {.severity = "FATAL", .sqlstate = "57P01", .message = "terminating connection"}));
  server_->send(farewell);
  // A query that is on its way before the farewell is heard is answered with 40003.
  ASSERT_TRUE(support::eventually(std::chrono::seconds(20),
                                  [&] { return proxy_->upstream_connections() == 0; }));
  application_->send(query_message("SELECT 1"));
  const PostgresPeer next = accept();
  EXPECT_EQ(next.receive().type, 'Q');
  next.send(done("SELECT 1") + ready('I'));
  EXPECT_EQ(application_->answer(), "SELECT 1 I");
}

// What answers in a server's place could be anybody: nothing is said without TLS.
TEST_F(PostgresLostTest, ServerWithoutTheTlsThatIsWantedGetsNothing) {
  const Folder folder;
  make_certificate(folder, "server.test");
  PostgresProxy proxy(
      port_, PostgresProxy::trusting(), {},
      ClientTlsOptions{.ca_file = folder / "server.test.pem", .server_name = "server.test"},
      Milliseconds(0));
  std::thread server([this] {
    const UniqueFd fd = accept_from(listener_);
    EXPECT_EQ(receive(fd, 8), std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8));
    send_all(fd, "N");
    EXPECT_EQ(receive(fd, 1), "");
  });
  EXPECT_EQ(proxy.connect().log_in("postgres"), "!08006");
  server.join();
}

TEST_F(PostgresLostTest, CancelOfAStaleServersQueryIsDropped) {
  under_way(query_message("SELECT 1"));
  clone_this_machine();
  expect_cancel_is_dropped(application_->key());
}

TEST_F(PostgresLostTest, CancelWithAnotherKeyIsDropped) {
  under_way(query_message("SELECT 1"));
  std::string wrong = application_->key();
  wrong.back() = static_cast<char>(wrong.back() ^ 1);
  expect_cancel_is_dropped(wrong);
}

TEST_F(PostgresLostTest, ChangedParametersAreToldToTheApplication) {
  proxy_->clone();
  application_->send(query_message("SELECT 1"));
  const PostgresPeer next(accept_from(listener_));
  const std::string size = receive(next.fd(), 4);
  receive(next.fd(), static_cast<unsigned char>(size[3]) - 4u);
  std::string out("R\0\0\0\x08\0\0\0\0", 9);
  EXPECT_TRUE(pg::append_parameter_status(out, {.name = "server_version", .value = "16.1"}));
  EXPECT_TRUE(pg::append_backend_key_data(out, {.process = 9, .key = "key!"}));
  next.send(out + ready('I'));
  EXPECT_EQ(next.receive().type, 'Q');
  next.send(done("SELECT 1") + ready('I'));
  const PostgresMessage news = application_->receive();
  EXPECT_EQ(news.type, 'S');
  EXPECT_EQ(news.body, std::string("server_version\0"
                                   "16.1\0",
                                   20));
  EXPECT_EQ(application_->answer(), "SELECT 1 I");
}

// What is told on a channel nobody waits for: clones don't all come at once for that.
TEST_F(PostgresLostTest, WhoOnlyListensIsInNoHurryUntilItAsks) {
  ServiceConfig config{.name = "database", .protocol = Protocol::kPostgres};
  config.postgres = PostgresProxy::trusting();
  config.upstream.spread = Milliseconds(80'000'000);
  RunningService service;
  int port = 0;
  UniqueFd listener = listen_on("127.0.0.1", port);
  service.start(std::move(config), kFar, port_, std::move(listener));
  const auto log_in = [&] {
    PostgresPeer application(connect_to("127.0.0.1", port));
    std::thread server([this] { server_.emplace(accept()); });
    EXPECT_EQ(application.log_in("postgres"), "");
    server.join();
    return application;
  };
  const auto exchange = [this](const PostgresPeer& application, const std::string& sql,
                               const std::string& tag) {
    application.send(query_message(sql));
    EXPECT_EQ(receive(server_->fd(), query_message(sql).size()), query_message(sql));
    server_->send(done(tag) + ready('I'));
    EXPECT_EQ(application.answer(), tag + " I");
  };
  const PostgresPeer listens = log_in();
  exchange(listens, "LISTEN news", "LISTEN");
  clone_this_machine();
  service->fence();
  // The same thread serves somebody else, and is done with all that is at once.
  const PostgresPeer other = log_in();
  exchange(other, "SELECT 1", "SELECT 1");
  EXPECT_TRUE(sees_nothing(listener_)) << "it came with all others";
  listens.send(query_message("SELECT 2"));
  server_.emplace(accept());
  EXPECT_THAT(server_->receive().body, testing::HasSubstr("LISTEN"));
  server_->send(done("LISTEN") + ready('I'));
  EXPECT_EQ(server_->receive().body, std::string("SELECT 2\0", 9));
  server_->send(done("SELECT 1") + ready('I'));
  EXPECT_EQ(listens.answer(), "SELECT 1 I");
}

}  // namespace
}  // namespace clonesafe::proxy
