// Read-only transactions that begin again on the next connection: the test plays the server, and
// then with a real one.
#include "tests/unit/proxy/postgres_played_server.h"

namespace clonesafe::proxy {
namespace {

const std::string kBegin = "BEGIN READ ONLY";

PostgresConfig retrying(PostgresPooling pooling = PostgresPooling::kSession) {
  PostgresConfig config = PostgresProxy::trusting();
  config.retry_read_only = true;
  config.pooling = pooling;
  return config;
}

class PostgresRetryTest : public PlayedPostgresTest {
 protected:
  explicit PostgresRetryTest(PostgresPooling pooling = PostgresPooling::kSession)
      : PlayedPostgresTest(retrying(pooling)) {}

  // Another server that let the proxy in and took this BEGIN, and then has these messages.
  PostgresPeer begin_again(const std::string& begin, const std::string& messages) {
    PostgresPeer next = accept();
    EXPECT_EQ(receive(next.fd(), query_message(begin).size()), query_message(begin));
    EXPECT_TRUE(sees_nothing(next.fd())) << "before it is confirmed";
    next.send(done("BEGIN") + ready('T'));
    EXPECT_EQ(receive(next.fd(), messages.size()), messages);
    return next;
  }
  void answer_and_commit(const PostgresPeer& server) {
    server.send(done("SELECT 1") + ready('T'));
    EXPECT_EQ(application_->answer(), "SELECT 1 T");
    application_->send(query_message("COMMIT"));
    EXPECT_EQ(receive(server.fd(), query_message("COMMIT").size()), query_message("COMMIT"));
    server.send(done("COMMIT") + ready('I'));
    EXPECT_EQ(application_->answer(), "COMMIT I");
    EXPECT_TRUE(sees_nothing(server_->fd())) << "not a byte to the parent's";
  }
  // The transaction is over, and the next statement is the first that the next server hears.
  void expect_failed_and_a_fresh_session() {
    EXPECT_EQ(application_->answer(), "!40001 E");
    EXPECT_EQ(application_->query("ROLLBACK"), "ROLLBACK I");
    application_->send(query_message("SELECT 1"));
    server_.emplace(accept());
    EXPECT_EQ(server_->receive().type, 'Q');
    server_->send(done("SELECT 1") + ready('I'));
    EXPECT_EQ(application_->answer(), "SELECT 1 I");
  }
};

class PostgresNoRetryTest : public PlayedPostgresTest {};

class PostgresSharedRetryTest : public PostgresRetryTest {
 protected:
  PostgresSharedRetryTest() : PostgresRetryTest(PostgresPooling::kTransaction) {}
};

TEST_F(PostgresRetryTest, StatementUnderWayIsSentAgainInATransactionOfItsOwnKind) {
  const std::string begin = "start transaction isolation level serializable, READ ONLY";
  exchange(begin, "START TRANSACTION", 'T');
  under_way(query_message("SELECT 1"));
  proxy_->clone();
  answer_and_commit(begin_again(begin, query_message("SELECT 1")));
  EXPECT_EQ(proxy_->counts().retried, 1u);
}

// The twin.
TEST_F(PostgresNoRetryTest, WithoutBeingAskedForTheTransactionFails) {
  exchange(kBegin, "BEGIN", 'T');
  under_way(query_message("SELECT 1"));
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!40001 E");
  EXPECT_EQ(proxy_->counts().retried, 0u);
}

TEST_F(PostgresRetryTest, TransactionOfWhichNothingWasAskedGoesOn) {
  exchange(kBegin, "BEGIN", 'T');
  proxy_->clone();
  application_->send(query_message("SELECT 1"));
  answer_and_commit(begin_again(kBegin, query_message("SELECT 1")));
}

TEST_F(PostgresRetryTest, EachCloneDoesItAgain) {
  exchange(kBegin, "BEGIN", 'T');
  under_way(query_message("SELECT 1"));
  proxy_->clone();
  const PostgresPeer child = begin_again(kBegin, query_message("SELECT 1"));
  proxy_->clone();
  answer_and_commit(begin_again(kBegin, query_message("SELECT 1")));
  EXPECT_TRUE(sees_nothing(child.fd()));
}

// It may be the statement that ends servers.
TEST_F(PostgresRetryTest, ServerThatIsLostTwiceIsNotAskedAThirdTime) {
  exchange(kBegin, "BEGIN", 'T');
  under_way(query_message("SELECT 1"));
  server_->send(error("FATAL", "57P02"));
  {
    const PostgresPeer next = begin_again(kBegin, query_message("SELECT 1"));
  }
  EXPECT_EQ(application_->answer(), "!40001 E");
  EXPECT_TRUE(sees_nothing(listener_));
}

TEST_F(PostgresRetryTest, ExtendedQueryIsSentAgain) {
  const std::string group = parse_message("", "SELECT $1") + bind_message("") + execute_message();
  exchange(kBegin, "BEGIN", 'T');
  under_way(group);
  proxy_->clone();
  const PostgresPeer next = begin_again(kBegin, group);
  application_->send(sync_message());
  EXPECT_EQ(receive(next.fd(), 5), sync_message());
  next.send(kParseComplete + kBindComplete + done("SELECT 1") + ready('T'));
  EXPECT_EQ(application_->receive().type, '1');
  EXPECT_EQ(application_->receive().type, '2');
  EXPECT_EQ(application_->answer(), "SELECT 1 T");
}

TEST_F(PostgresRetryTest, WhatMayNotBeRepeatedFails) {
  const std::string long_text = "SELECT '" + std::string(70'000, 'x') + "'";
  for (const std::string& statement :
       {std::string("INSERT INTO t VALUES (1)"), std::string("SET TRANSACTION READ WRITE"),
        std::string("NOTIFY a"), std::string("COPY t TO PROGRAM 'p'"), std::string("SHOW a"),
        std::string("SELECT 1; SAVEPOINT a"), std::string("SELECT nextval('s')"),
        std::string("SELECT pg_advisory_xact_lock(1)"),
        std::string("DECLARE c CURSOR FOR SELECT 1"), std::string("FETCH c"), long_text}) {
    SCOPED_TRACE(statement.substr(0, 40));
    exchange(kBegin, "BEGIN", 'T');
    under_way(query_message(statement));
    proxy_->clone();
    expect_failed_and_a_fresh_session();
  }
}

TEST_F(PostgresRetryTest, TransactionsOfAnotherKindFail) {
  for (const std::string& begin :
       {std::string("BEGIN"), std::string("BEGIN READ WRITE"),
        std::string("BEGIN READ ONLY, READ WRITE"), std::string("BEGIN READ ONLY; SELECT 1")}) {
    SCOPED_TRACE(begin);
    exchange(begin, "BEGIN", 'T');
    under_way(query_message("SELECT 1"));
    proxy_->clone();
    expect_failed_and_a_fresh_session();
  }
}

// The next answer might be of another state of the database.
TEST_F(PostgresRetryTest, TransactionOfWhichAnAnswerWasSeenFails) {
  exchange(kBegin, "BEGIN", 'T');
  exchange("SELECT 1", "SELECT 1", 'T');
  under_way(query_message("SELECT 1"));
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!40001 E");
}

TEST_F(PostgresRetryTest, PartOfAnAnswerIsAnAnswer) {
  exchange(kBegin, "BEGIN", 'T');
  under_way(query_message("SELECT 1"));
  server_->send(done("SELECT 0"));
  EXPECT_EQ(application_->receive().type, 'C');
  proxy_->clone();
  EXPECT_EQ(application_->answer(), "!40001 E");
}

// Without its transaction the statement could write.
TEST_F(PostgresRetryTest, ServerThatBeginsNoTransactionGetsNothing) {
  for (const std::string& refusal :
       {error("ERROR", "25006") + ready('I'), done("BEGIN") + ready('I')}) {
    exchange(kBegin, "BEGIN", 'T');
    under_way(query_message("SELECT 1"));
    proxy_->clone();
    const PostgresPeer next = accept();
    EXPECT_EQ(receive(next.fd(), query_message(kBegin).size()), query_message(kBegin));
    next.send(refusal);
    EXPECT_THAT(application_->answer(), testing::AnyOf("!25006 end", "!08P01 end"));
    EXPECT_EQ(wait_for_news(next.fd()), Seen::kEnd);
    application_.emplace(proxy_->connect());
    std::thread server([this] { server_.emplace(accept()); });
    EXPECT_EQ(application_->log_in("postgres"), "");
    server.join();
  }
}

TEST_F(PostgresSharedRetryTest, StatementUnderWayIsSentAgainOnAnotherSharedConnection) {
  exchange(kBegin, "BEGIN", 'T');
  under_way(query_message("SELECT 1"));
  proxy_->clone();
  answer_and_commit(begin_again(kBegin, query_message("SELECT 1")));
}

}  // namespace
}  // namespace clonesafe::proxy
