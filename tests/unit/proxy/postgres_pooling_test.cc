// Applications that share connections to a real PostgreSQL, for a transaction each.
#include <atomic>
#include <thread>

#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/startup.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/postgres_server.h"

namespace clonesafe::proxy {
namespace {

namespace pg = wire::postgres;

constexpr std::chrono::seconds kLong{20};

class PostgresPoolingTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { server_ = std::make_unique<PostgresServer>(); }
  static void TearDownTestSuite() { server_.reset(); }

  // A connection that sees the server's sessions, of which there are no others now: those that
  // clones left are there still.
  static PostgresPeer watch() {
    PostgresPeer watcher = server_->direct();
    EXPECT_THAT(watcher.query("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
                              "backend_type = 'client backend' AND pid <> pg_backend_pid()"),
                testing::EndsWith(" SELECT 1 I"));
    EXPECT_TRUE(support::eventually(kLong, [&] { return backends(watcher) == 0; }));
    return watcher;
  }
  // Sessions of the server's that are not this one's own.
  static int backends(const PostgresPeer& watcher) {
    const std::string answer = watcher.query(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND pid <> pg_backend_pid()");
    return std::stoi(answer);
  }
  static std::string process_of(const PostgresPeer& application) {
    const std::string answer = application.query("SELECT pg_backend_pid()");
    return answer.substr(0, answer.find(' '));
  }
  // An application whose StartupMessage asks for more.
  static PostgresPeer session_with(const PostgresProxy& proxy, const std::string& name,
                                   const std::string& value) {
    PostgresPeer peer = proxy.connect();
    std::string out;
    EXPECT_TRUE(pg::append_startup(out, pg::kVersion30,
                                   {{.name = "user", .value = "postgres"},
                                    {.name = "database", .value = "postgres"},
                                    {.name = name, .value = value}}));
    peer.send(out);
    EXPECT_EQ(peer.answer(), "I");
    return peer;
  }
  static std::string run_prepared(const PostgresPeer& application, const std::string& name) {
    application.send(bind_message(name) + execute_message() + sync_message());
    return application.answer();
  }
  static void prepare(const PostgresPeer& application, const std::string& name,
                      const std::string& sql) {
    application.send(parse_message(name, sql) + sync_message());
    EXPECT_EQ(application.answer(), "I");
  }
  static bool waits(PostgresProxy& proxy, std::uint64_t so_many) {
    return support::eventually(kLong, [&] { return proxy.counts().waited == so_many; });
  }

  static std::unique_ptr<PostgresServer> server_;
};
std::unique_ptr<PostgresServer> PostgresPoolingTest::server_;

TEST_F(PostgresPoolingTest, FortyApplicationsShareThreeConnections) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 3);
  const PostgresPeer watcher = watch();
  EXPECT_EQ(watcher.query("CREATE TABLE shared (who int, what int)"), "CREATE TABLE I");
  std::vector<PostgresPeer> applications;
  for (int i = 0; i < 40; ++i) applications.push_back(proxy.session());
  std::atomic<int> left = 40;
  std::vector<std::thread> threads;
  for (int i = 0; i < 40; ++i) {
    threads.emplace_back([&, i] {
      const PostgresPeer& application = applications[static_cast<std::size_t>(i)];
      for (int round = 0; round < 5; ++round) {
        const std::string insert = "INSERT INTO shared VALUES (" + std::to_string(i) + ", 1)";
        EXPECT_EQ(application.query("BEGIN"), "BEGIN T");
        const std::string process = process_of(application);
        EXPECT_EQ(application.query(insert), "INSERT 0 1 T");
        EXPECT_EQ(process_of(application), process);
        EXPECT_EQ(application.query(round % 2 == 0 ? "COMMIT" : "ROLLBACK"),
                  round % 2 == 0 ? "COMMIT I" : "ROLLBACK I");
      }
      --left;
    });
  }
  while (left != 0) EXPECT_LE(backends(watcher), 3);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(watcher.query("SELECT count(*), count(DISTINCT who) FROM shared"), "120|40 SELECT 1 I");
  EXPECT_EQ(watcher.query("DROP TABLE shared"), "DROP TABLE I");
  EXPECT_EQ(proxy.upstream_connections(), 3u);
  EXPECT_GT(proxy.counts().waited, 0u);
  EXPECT_EQ(proxy.counts().timed_out, 0u);
  EXPECT_EQ(proxy.counts().pinned, 0u);
}

TEST_F(PostgresPoolingTest, SettingsAreEachApplicationsOwn) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer one = proxy.session();
  const PostgresPeer two = session_with(proxy, "application_name", "two");
  const PostgresPeer three = proxy.session();
  EXPECT_EQ(one.query("SET work_mem = '7MB'; SET search_path TO pg_catalog; SET ROLE scram"),
            "SET SET SET I");
  EXPECT_EQ(two.query("SET TIME ZONE 'Asia/Tokyo'; SET work_mem = '8MB'"), "SET SET I");
  const std::string all =
      "SELECT current_setting('work_mem'), current_setting('timezone'), "
      "current_setting('search_path'), current_setting('application_name'), current_user";
  const std::string plain = three.query(all);
  EXPECT_EQ(plain.substr(0, 4), "4MB|");
  EXPECT_THAT(plain, testing::EndsWith("|\"$user\", public||postgres SELECT 1 I"));
  const std::string zone = plain.substr(4, plain.find('|', 4) - 4);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(one.query(all), "7MB|" + zone + "|pg_catalog||scram SELECT 1 I");
    EXPECT_EQ(two.query(all), "8MB|Asia/Tokyo|\"$user\", public|two|postgres SELECT 1 I");
    EXPECT_EQ(three.query(all), plain);
  }
  // What a transaction takes back was never there.
  EXPECT_EQ(one.query("BEGIN; SET work_mem = '9MB'; ROLLBACK"), "BEGIN SET ROLLBACK I");
  EXPECT_EQ(one.query("BEGIN; SET LOCAL work_mem = '9MB'; COMMIT"), "BEGIN SET COMMIT I");
  EXPECT_EQ(one.query("SHOW work_mem"), "7MB SHOW I");
  // To what the application asked for at its login.
  EXPECT_EQ(two.query("SET application_name = 'other'"), "SET I");
  EXPECT_EQ(two.query("RESET ALL"), "RESET I");
  EXPECT_EQ(two.query(all), "4MB|" + zone + "|\"$user\", public|two|postgres SELECT 1 I");
  EXPECT_EQ(three.query(all), plain);
  EXPECT_EQ(one.query("DISCARD ALL"), "DISCARD ALL I");
  EXPECT_EQ(one.query(all), plain);
  EXPECT_EQ(two.query("SHOW application_name"), "two SHOW I");
  EXPECT_EQ(proxy.upstream_connections(), 1u);
}

// Each SET of DateStyle changes a part of what there is.
TEST_F(PostgresPoolingTest, DateStylesAreEachApplicationsOwn) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer one = session_with(proxy, "DateStyle", "German, YMD");
  const PostgresPeer two = session_with(proxy, "DateStyle", "SQL");
  EXPECT_EQ(one.query("SHOW datestyle"), "German, YMD SHOW I");
  EXPECT_EQ(two.query("SHOW datestyle"), "SQL, MDY SHOW I");
  EXPECT_EQ(one.query("SET datestyle TO postgres"), "SET I");
  EXPECT_EQ(two.query("SET datestyle TO dmy"), "SET I");
  EXPECT_EQ(one.query("SHOW datestyle"), "Postgres, YMD SHOW I");
  EXPECT_EQ(two.query("SHOW datestyle"), "SQL, DMY SHOW I");
  EXPECT_EQ(one.query("RESET datestyle"), "RESET I");
  EXPECT_EQ(two.query("RESET ALL"), "RESET I");
  EXPECT_EQ(one.query("SHOW datestyle"), "German, YMD SHOW I");
  EXPECT_EQ(two.query("SHOW datestyle"), "SQL, MDY SHOW I");
}

TEST_F(PostgresPoolingTest, EncodingsAreEachApplicationsOwn) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer latin = session_with(proxy, "client_encoding", "LATIN1");
  const PostgresPeer utf8 = proxy.session();
  EXPECT_EQ(utf8.query("SET work_mem = '5MB'; SET my.name = '\xc3\xa9'"), "SET SET I");
  EXPECT_EQ(latin.query("SET my.name = '\xe9'"), "SET I");
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(utf8.query("SHOW my.name"), "\xc3\xa9 SHOW I");
    EXPECT_EQ(latin.query("SHOW my.name"), "\xe9 SHOW I");
  }
}

TEST_F(PostgresPoolingTest, ApplicationIsToldOfWhatItsOwnSettingsAre) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer other = session_with(proxy, "TimeZone", "Asia/Tokyo");
  for (int i = 0; i < 2; ++i) {
    PostgresPeer peer = proxy.connect();
    std::string out;
    EXPECT_TRUE(pg::append_startup(out, pg::kVersion30,
                                   {{.name = "user", .value = "postgres"},
                                    {.name = "database", .value = "postgres"},
                                    {.name = "DateStyle", .value = "German"}}));
    peer.send(out);
    std::string style, zone;
    for (PostgresMessage message = peer.receive(); message.type != 'Z'; message = peer.receive()) {
      if (message.body.starts_with(std::string("DateStyle\0", 10))) style = message.body.substr(10);
      if (message.body.starts_with(std::string("TimeZone\0", 9))) zone = message.body.substr(9);
    }
    EXPECT_EQ(style, std::string("German, DMY\0", 12));
    EXPECT_THAT(zone, testing::Not(testing::StartsWith("Asia")));
  }
}

TEST_F(PostgresPoolingTest, PreparedStatementsAreEachApplicationsOwn) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer one = proxy.session(), two = proxy.session(), three = proxy.session();
  prepare(one, "s", "SELECT 'one'");
  prepare(two, "s", "SELECT 'two'");
  prepare(one, "", "SELECT 'unnamed'");
  EXPECT_EQ(two.query("PREPARE q AS SELECT 'two by SQL'"), "PREPARE I");
  EXPECT_EQ(one.query("PREPARE q AS SELECT 'one by SQL'"), "PREPARE I");
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(run_prepared(two, "s"), "two SELECT 1 I");
    EXPECT_EQ(run_prepared(one, "s"), "one SELECT 1 I");
    EXPECT_EQ(run_prepared(three, "s"), "!26000 I");
    EXPECT_EQ(run_prepared(one, ""), "unnamed SELECT 1 I");
    EXPECT_EQ(run_prepared(two, ""), "!26000 I");
    EXPECT_EQ(two.query("EXECUTE q"), "two by SQL SELECT 1 I");
    EXPECT_EQ(one.query("EXECUTE q"), "one by SQL SELECT 1 I");
    EXPECT_EQ(three.query("EXECUTE q"), "!26000 I");
  }
  EXPECT_EQ(run_prepared(one, "q"), "one by SQL SELECT 1 I");
  EXPECT_EQ(one.query("DEALLOCATE ALL"), "DEALLOCATE ALL I");
  EXPECT_EQ(run_prepared(one, "s"), "!26000 I");
  EXPECT_EQ(run_prepared(two, "s"), "two SELECT 1 I");
  EXPECT_EQ(two.query("EXECUTE q"), "two by SQL SELECT 1 I");
  EXPECT_EQ(two.query("DISCARD ALL"), "DISCARD ALL I");
  EXPECT_EQ(two.query("EXECUTE q"), "!26000 I");
}

// SQL knows what the protocol prepared by the application's name.
TEST_F(PostgresPoolingTest, SqlRunsAndDropsWhatTheProtocolPrepared) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer one = proxy.session(), two = proxy.session();
  prepare(one, "s", "SELECT 'one'");
  prepare(two, "s", "SELECT 'two'");
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(one.query("EXECUTE s"), "one SELECT 1 I");
    EXPECT_EQ(two.query("EXECUTE s; EXECUTE s"), "two SELECT 1 two SELECT 1 I");
    EXPECT_EQ(one.query("BEGIN; EXECUTE s"), "BEGIN one SELECT 1 T");
    EXPECT_EQ(one.query("EXECUTE s"), "one SELECT 1 T");
    EXPECT_EQ(one.query("COMMIT"), "COMMIT I");
  }
  // One that is not done, and one that is.
  EXPECT_EQ(one.query("SELECT 1/0; DEALLOCATE s"), "!22012 I");
  EXPECT_EQ(two.query("PREPARE q AS SELECT 1; DEALLOCATE q"), "PREPARE DEALLOCATE I");
  EXPECT_EQ(one.query("BEGIN; DEALLOCATE s"), "BEGIN DEALLOCATE T");
  EXPECT_EQ(one.query("ROLLBACK"), "ROLLBACK I");
  EXPECT_EQ(run_prepared(one, "s"), "!26000 I");
  EXPECT_EQ(one.query("DEALLOCATE s"), "!26000 I");
  EXPECT_EQ(one.query("PREPARE s AS SELECT 'mine'"), "PREPARE I");
  EXPECT_EQ(two.query("EXECUTE s"), "two SELECT 1 I");
  EXPECT_EQ(one.query("EXECUTE s"), "mine SELECT 1 I");
  EXPECT_EQ(run_prepared(two, "s"), "two SELECT 1 I");
  EXPECT_EQ(proxy.upstream_connections(), 1u);
}

// Those of one text are one, if the text means the same.
TEST_F(PostgresPoolingTest, ConnectionHasOneStatementForAllWhoPreparedIt) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer one = proxy.session(), two = proxy.session(), three = proxy.session();
  const std::string sql = "SELECT '01/02/2003'::date - '2003-01-01'::date";
  EXPECT_EQ(three.query("SET DateStyle = 'ISO, DMY'"), "SET I");
  prepare(one, "a", sql);
  prepare(two, "b", sql);
  prepare(three, "a", sql);
  EXPECT_EQ(run_prepared(one, "a"), "1 SELECT 1 I");
  EXPECT_EQ(run_prepared(two, "b"), "1 SELECT 1 I");
  EXPECT_EQ(run_prepared(three, "a"), "31 SELECT 1 I");
  EXPECT_EQ(one.query("SELECT count(*) FROM pg_prepared_statements"), "2 SELECT 1 I");
}

TEST_F(PostgresPoolingTest, WhatWasPreparedUnderSetLocalIsNobodyElses) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer one = proxy.session(), two = proxy.session();
  const std::string sql = "SELECT '01/02/2003'::date - '2003-01-01'::date";
  prepare(two, "s", sql);
  EXPECT_EQ(one.query("BEGIN; SET LOCAL DateStyle = 'ISO, DMY'"), "BEGIN SET T");
  one.send(parse_message("s", sql) + bind_message("s") + execute_message() + sync_message());
  EXPECT_EQ(one.answer(), "31 SELECT 1 T");
  EXPECT_EQ(one.query("COMMIT"), "COMMIT I");
  EXPECT_EQ(run_prepared(one, "s"), "31 SELECT 1 I");
  EXPECT_EQ(run_prepared(two, "s"), "1 SELECT 1 I");
  prepare(one, "t", sql);
  EXPECT_EQ(run_prepared(one, "t"), "1 SELECT 1 I");
}

TEST_F(PostgresPoolingTest, StatementsThatWereNotUsedForLongestMakeRoom) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer application = proxy.session();
  const auto text = [](int i) { return "SELECT " + std::to_string(i); };
  for (int i = 0; i < 250; ++i) prepare(application, "s" + std::to_string(i), text(i));
  EXPECT_EQ(application.query("SELECT count(*) FROM pg_prepared_statements"), "200 SELECT 1 I");
  for (int i = 0; i < 250; ++i)
    EXPECT_EQ(run_prepared(application, "s" + std::to_string(i)),
              std::to_string(i) + " SELECT 1 I");
}

TEST_F(PostgresPoolingTest, GroupThatFailsTakesNoStatementFromTheNext) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 2);
  const PostgresPeer one = proxy.session(), two = proxy.session();
  prepare(one, "s", "SELECT 'there'");
  EXPECT_EQ(two.query("BEGIN"), "BEGIN T");
  // Its connection is a new one now. The proxy's Parse for "s" is left out with the rest.
  one.send(parse_message("", "SELECT 1/0") + bind_message("") + execute_message() +
           bind_message("s") + execute_message() + sync_message() + bind_message("s") +
           execute_message() + sync_message());
  EXPECT_EQ(one.answer(), "!22012 I");
  EXPECT_EQ(one.answer(), "there SELECT 1 I");
  EXPECT_EQ(run_prepared(one, "s"), "there SELECT 1 I");
  EXPECT_EQ(two.query("COMMIT"), "COMMIT I");
}

TEST_F(PostgresPoolingTest, StatementThatCanNotBePreparedAgainIsItsGroupsError) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 2);
  const PostgresPeer one = proxy.session(), two = proxy.session();
  EXPECT_EQ(one.query("CREATE TABLE short_lived (i int)"), "CREATE TABLE I");
  prepare(one, "s", "SELECT i FROM short_lived");
  EXPECT_EQ(two.query("BEGIN; DROP TABLE short_lived"), "BEGIN DROP TABLE T");
  EXPECT_EQ(two.query("COMMIT"), "COMMIT I");
  EXPECT_EQ(two.query("BEGIN"), "BEGIN T");
  EXPECT_EQ(run_prepared(one, "s"), "!42P01 I");
  EXPECT_EQ(one.query("CREATE TABLE short_lived (i int)"), "CREATE TABLE I");
  EXPECT_EQ(run_prepared(one, "s"), "SELECT 0 I");
  EXPECT_EQ(one.query("DROP TABLE short_lived"), "DROP TABLE I");
}

// Somebody always has it, and others' proxies would never have its place.
TEST_F(PostgresPoolingTest, BusyConnectionIsGivenUpAtTheEndOfItsLife) {
  const std::string question = "SELECT pg_backend_pid() FROM pg_sleep(0.01)";
  PostgresProxy old = PostgresProxy::pooling(server_->port(), 1, std::chrono::milliseconds(20'000),
                                             std::chrono::milliseconds(1));
  const PostgresPeer one = old.session();
  EXPECT_NE(one.query(question), one.query(question));
  EXPECT_EQ(one.query("BEGIN"), "BEGIN T");
  const std::string first = one.query(question);
  EXPECT_EQ(one.query(question), first) << "within a transaction it stays";
}

TEST_F(PostgresPoolingTest, WhoeverWaitsTooLongGetsAnErrorAndCanAskAgain) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1, std::chrono::milliseconds(200));
  const PostgresPeer one = proxy.session(), two = proxy.session();
  EXPECT_EQ(one.query("BEGIN"), "BEGIN T");
  EXPECT_EQ(two.query("SELECT 1"), "!53300 I");
  two.send(parse_message("s", "SELECT 1") + bind_message("s") + execute_message() + sync_message() +
           sync_message());
  EXPECT_EQ(two.answer(), "!53300 I");
  EXPECT_TRUE(two.answer().ends_with("I"));
  // A login for which it needs no connection, and one for which it does.
  const PostgresPeer same = proxy.session();
  PostgresPeer three = proxy.connect();
  EXPECT_EQ(three.log_in("postgres", "", "template1"), "!53300");
  EXPECT_EQ(one.query("COMMIT"), "COMMIT I");
  EXPECT_EQ(two.query("SELECT 1"), "1 SELECT 1 I");
  EXPECT_EQ(run_prepared(two, "s"), "!26000 I");
  EXPECT_EQ(proxy.counts().timed_out, 4u);
}

TEST_F(PostgresPoolingTest, WhoeverCameFirstIsServedFirst) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer one = proxy.session(), two = proxy.session(), three = proxy.session();
  EXPECT_EQ(one.query("BEGIN"), "BEGIN T");
  two.send(query_message("BEGIN"));
  ASSERT_TRUE(waits(proxy, 1));
  three.send(query_message("SELECT 3"));
  ASSERT_TRUE(waits(proxy, 2));
  // Nor does the one that has it come in between.
  one.send(query_message("COMMIT"));
  EXPECT_EQ(one.answer(), "COMMIT I");
  one.send(query_message("SELECT 1"));
  EXPECT_EQ(two.answer(), "BEGIN T");
  EXPECT_TRUE(sees_nothing(three.fd()));
  EXPECT_TRUE(sees_nothing(one.fd()));
  EXPECT_EQ(two.query("COMMIT"), "COMMIT I");
  EXPECT_EQ(three.answer(), "3 SELECT 1 I");
  EXPECT_EQ(one.answer(), "1 SELECT 1 I");
}

TEST_F(PostgresPoolingTest, WaiterThatLeavesIsForgotten) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1, std::chrono::minutes(10));
  const PostgresPeer one = proxy.session(), three = proxy.session();
  EXPECT_EQ(one.query("CREATE TABLE never (i int)"), "CREATE TABLE I");
  EXPECT_EQ(one.query("BEGIN"), "BEGIN T");
  {
    const PostgresPeer two = proxy.session();
    two.send(query_message("INSERT INTO never VALUES (1)"));
    ASSERT_TRUE(waits(proxy, 1));
  }
  ASSERT_TRUE(support::eventually(kLong, [&] { return proxy.sessions() == 2; }));
  EXPECT_EQ(one.query("COMMIT"), "COMMIT I");
  EXPECT_EQ(three.query("SELECT count(*) FROM never"), "0 SELECT 1 I");
  EXPECT_EQ(three.query("DROP TABLE never"), "DROP TABLE I");
}

TEST_F(PostgresPoolingTest, TransactionWhoseApplicationVanishesIsRolledBack) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer two = proxy.session();
  EXPECT_EQ(two.query("CREATE TABLE never (i int)"), "CREATE TABLE I");
  std::string process;
  {
    const PostgresPeer one = proxy.session();
    EXPECT_EQ(one.query("BEGIN"), "BEGIN T");
    process = process_of(one);
    EXPECT_EQ(one.query("INSERT INTO never VALUES (1)"), "INSERT 0 1 T");
  }
  EXPECT_EQ(two.query("SELECT count(*) FROM never"), "0 SELECT 1 I");
  EXPECT_NE(process_of(two), process);
  EXPECT_EQ(two.query("DROP TABLE never"), "DROP TABLE I");
}

TEST_F(PostgresPoolingTest, CancelReachesWhatTheSessionHasNowAndNobodyElse) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  PostgresPeer one = proxy.connect(), two = proxy.connect();
  EXPECT_EQ(one.log_in("postgres"), "");
  EXPECT_EQ(two.log_in("postgres"), "");
  EXPECT_EQ(one.query("SELECT 1"), "1 SELECT 1 I");
  two.send(query_message("SELECT pg_sleep(600)"));
  const PostgresPeer watcher = server_->direct();
  ASSERT_TRUE(support::eventually(kLong, [&] {
    return watcher.query(
               "SELECT count(*) FROM pg_stat_activity WHERE query LIKE "
               "'%sleep(600)' AND state = 'active'") == "1 SELECT 1 I";
  }));
  const auto cancel = [&](const PostgresPeer& whose) {
    const PostgresPeer peer = proxy.connect();
    peer.send(std::string("\0\0\0\x10\x04\xd2\x16\x2e", 8) + whose.key());
    EXPECT_EQ(wait_for_news(peer.fd()), Seen::kEnd);
  };
  cancel(one);
  EXPECT_TRUE(sees_nothing(two.fd()));
  cancel(two);
  EXPECT_EQ(two.answer(), "!57014 I");
}

TEST_F(PostgresPoolingTest, WhatOthersMustNotSeeKeepsItsConnection) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 2);
  const PostgresPeer other = proxy.session();
  EXPECT_EQ(other.query("CREATE SEQUENCE IF NOT EXISTS numbers"), "CREATE SEQUENCE I");
  std::uint64_t pinned = 0;
  const std::vector<std::pair<std::string, std::string>> all = {
      {"LISTEN news", "UNLISTEN news"},
      {"CREATE TEMP TABLE mine (i int)", "DISCARD TEMP"},
      {"SELECT pg_advisory_lock(1)", "DISCARD ALL"},
      {"DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c"},
      {"SELECT set_config('work_mem', '1MB', false)", "RESET ALL"},
      {"SELECT nextval('numbers'), currval('numbers') > 0", "DISCARD SEQUENCES"},
      {"DO $$ BEGIN END $$", "DISCARD ALL"}};
  for (const auto& [pin, end] : all) {
    SCOPED_TRACE(pin);
    const PostgresPeer application = proxy.session();
    EXPECT_TRUE(application.query(pin).ends_with(" I"));
    EXPECT_EQ(proxy.counts().pinned, ++pinned);
    const std::string process = process_of(application);
    for (int i = 0; i < 3; ++i) EXPECT_NE(process_of(other), process);
    EXPECT_EQ(process_of(application), process);
    EXPECT_TRUE(application.query(end).ends_with(" I"));
    // The one that was used last is lent first.
    EXPECT_EQ(process_of(other), process);
  }
  EXPECT_EQ(other.query("SHOW work_mem"), "4MB SHOW I");
  EXPECT_EQ(other.query("DROP SEQUENCE numbers"), "DROP SEQUENCE I");
}

TEST_F(PostgresPoolingTest, NotificationsReachWhoListens) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 2);
  const PostgresPeer one = proxy.session(), two = proxy.session();
  EXPECT_EQ(one.query("LISTEN news"), "LISTEN I");
  EXPECT_EQ(two.query("NOTIFY news"), "NOTIFY I");
  EXPECT_EQ(one.receive().type, 'A');
  proxy.clone();
  ASSERT_TRUE(support::eventually(kLong, [&] {
    EXPECT_EQ(two.query("NOTIFY news"), "NOTIFY I");
    return !sees_nothing(one.fd());
  }));
}

TEST_F(PostgresPoolingTest, SessionsGoOnInACloneWithNewConnections) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 2);
  const PostgresPeer one = proxy.session(), two = proxy.session();
  EXPECT_EQ(two.query("BEGIN; SET work_mem = '9MB'"), "BEGIN SET T");
  EXPECT_EQ(one.query("SET work_mem = '7MB'"), "SET I");
  prepare(one, "s", "SELECT 'there'");
  const std::string parents = process_of(one);
  proxy.clone();
  EXPECT_EQ(one.query("SHOW work_mem"), "7MB SHOW I");
  EXPECT_EQ(run_prepared(one, "s"), "there SELECT 1 I");
  EXPECT_NE(process_of(one), parents);
  EXPECT_EQ(two.query("SELECT 1"), "!40001 E");
  EXPECT_EQ(two.query("ROLLBACK"), "ROLLBACK I");
  EXPECT_EQ(two.query("SHOW work_mem"), "4MB SHOW I");
  EXPECT_EQ(server_->direct().query("SELECT count(*) FROM pg_stat_activity WHERE pid = " + parents),
            "1 SELECT 1 I");
  EXPECT_EQ(proxy.counts().fenced, 2u);
}

TEST_F(PostgresPoolingTest, WaitersAreServedInTheClone) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer one = proxy.session(), two = proxy.session();
  EXPECT_EQ(one.query("BEGIN"), "BEGIN T");
  two.send(query_message("SELECT 2"));
  ASSERT_TRUE(waits(proxy, 1));
  proxy.clone();
  EXPECT_EQ(two.answer(), "2 SELECT 1 I");
  EXPECT_EQ(one.query("COMMIT"), "!40001 I");
}

TEST_F(PostgresPoolingTest, IdleConnectionsAreClosedBeforeASnapshot) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 2);
  const PostgresPeer watcher = watch();
  const PostgresPeer one = proxy.session(), two = proxy.session();
  EXPECT_EQ(one.query("SET work_mem = '7MB'"), "SET I");
  EXPECT_EQ(two.query("BEGIN"), "BEGIN T");
  EXPECT_EQ(one.query("SELECT 1"), "1 SELECT 1 I");
  EXPECT_GE(proxy.park(std::chrono::milliseconds(1)), 1u) << "the one with a transaction";
  proxy.unpark();
  EXPECT_EQ(two.query("COMMIT"), "COMMIT I");
  EXPECT_EQ(proxy.park(), 0u);
  EXPECT_TRUE(support::eventually(kLong, [&] { return backends(watcher) == 0; }));
  one.send(query_message("SHOW work_mem"));
  EXPECT_TRUE(sees_nothing(one.fd()));
  proxy.unpark();
  EXPECT_EQ(one.answer(), "7MB SHOW I");
}

TEST_F(PostgresPoolingTest, ConnectionsOfOthersMakeRoom) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer watcher = watch();
  const PostgresPeer one = proxy.session();
  PostgresPeer two = proxy.connect();
  EXPECT_EQ(two.log_in("postgres", "", "template1"), "");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(one.query("SELECT current_database()"), "postgres SELECT 1 I");
    EXPECT_EQ(backends(watcher), 1);
    EXPECT_EQ(two.query("SELECT current_database()"), "template1 SELECT 1 I");
    EXPECT_EQ(backends(watcher), 1);
  }
}

TEST_F(PostgresPoolingTest, ServerThatRestartsIsNoEnd) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 2);
  const PostgresPeer one = proxy.session(), two = proxy.session();
  EXPECT_EQ(one.query("SET work_mem = '6MB'"), "SET I");
  EXPECT_EQ(two.query("SELECT 1"), "1 SELECT 1 I");
  server_->stop();
  server_->start();
  EXPECT_EQ(one.query("SHOW work_mem"), "6MB SHOW I");
  EXPECT_EQ(two.query("SHOW work_mem"), "4MB SHOW I");
}

TEST_F(PostgresPoolingTest, CopyAndLargeValuesPass) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer one = proxy.session(), two = proxy.session();
  EXPECT_EQ(one.query("CREATE TABLE copied (t text)"), "CREATE TABLE I");
  one.send(query_message("COPY copied FROM STDIN"));
  EXPECT_EQ(one.receive().type, 'G');
  two.send(query_message("SELECT length(t) FROM copied"));
  ASSERT_TRUE(waits(proxy, 1));
  one.send(std::string("d\0\0\0\x07xy\n", 8) + std::string("c\0\0\0\4", 5));
  EXPECT_EQ(one.answer(), "COPY 1 I");
  EXPECT_EQ(two.answer(), "2 SELECT 1 I");
  // As applications do that have not heard yet that the server takes no more.
  EXPECT_EQ(one.query("COPY nowhere FROM STDIN"), "!42P01 I");
  one.send(std::string("d\0\0\0\x07xy\n", 8) + std::string("c\0\0\0\4", 5));
  EXPECT_EQ(two.query("DROP TABLE copied"), "DROP TABLE I");
  const std::string value(900'000, 'v');
  std::thread writer([&] { one.send(query_message("SELECT '" + value + "'")); });
  EXPECT_TRUE(one.answer() == value + " SELECT 1 I");
  writer.join();
}

// It has one ReadyForQuery more than one that fails at its data, and nobody else gets it.
TEST_F(PostgresPoolingTest, CopyThatFailsBeforeItsDataIsReadEndsForItsApplicationAlone) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 1);
  const PostgresPeer one = proxy.session(), two = proxy.session();
  EXPECT_EQ(one.query("CREATE TABLE closed (t text); CREATE FUNCTION no() RETURNS trigger LANGUAGE "
                      "plpgsql AS 'BEGIN RAISE ''no''; END'; CREATE TRIGGER no BEFORE INSERT ON "
                      "closed EXECUTE FUNCTION no()"),
            "CREATE TABLE CREATE FUNCTION CREATE TRIGGER I");
  for (int i = 0; i < 20; ++i) {
    one.send(parse_message("", "COPY closed FROM STDIN") + bind_message("") + execute_message() +
             sync_message());
    for (const char type : {'1', '2', 'G'}) EXPECT_EQ(one.receive().type, type);
    one.send(std::string("c\0\0\0\4", 5) + sync_message());
    EXPECT_EQ(one.answer(), "!P0001 I");
    EXPECT_EQ(two.query("SELECT 1"), "1 SELECT 1 I");
    one.send(query_message("SELECT 2"));
    const std::string answer = one.answer();
    EXPECT_EQ(answer == "I" ? one.answer() : answer, "2 SELECT 1 I");
  }
  EXPECT_EQ(one.query("DROP TABLE closed; DROP FUNCTION no"), "DROP TABLE DROP FUNCTION I");
}

TEST_F(PostgresPoolingTest, PgbenchNeverHasMoreConnectionsThanThereMayBe) {
  PostgresProxy proxy = PostgresProxy::pooling(server_->port(), 4);
  const PostgresPeer watcher = watch();
  proxy.program({"pgbench", "-i", "-q"});
  for (const std::string mode : {"simple", "extended", "prepared"}) {
    SCOPED_TRACE(mode);
    std::atomic<bool> ended = false;
    int most = 0;
    std::thread counter([&] {
      while (!ended) most = std::max(most, backends(watcher));
    });
    const std::string report =
        proxy.program({"pgbench", "-n", "-S", "-M", mode, "-c", "20", "-t", "100"});
    // A thread for each client: it waits when it prepares, whoever has the connections.
    const std::string writes =
        proxy.program({"pgbench", "-n", "-M", mode, "-c", "20", "-j", "20", "-t", "10"});
    ended = true;
    counter.join();
    EXPECT_THAT(report, testing::HasSubstr("number of transactions actually processed: 2000/2000"));
    EXPECT_THAT(writes, testing::HasSubstr("number of transactions actually processed: 200/200"));
    EXPECT_EQ(most, 4);
  }
  EXPECT_EQ(watcher.query("SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT "
                          "sum(delta) FROM pgbench_history), count(*) FROM pgbench_history"),
            "t|600 SELECT 1 I");
}

}  // namespace
}  // namespace clonesafe::proxy
