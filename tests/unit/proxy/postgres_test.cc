// PostgreSQL sessions with a real server as the upstream.
#include <openssl/ssl.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/startup.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/postgres_server.h"

namespace clonesafe::proxy {
namespace {

namespace pg = wire::postgres;

class PostgresTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { server_ = std::make_unique<PostgresServer>(); }
  static void TearDownTestSuite() { server_.reset(); }

  static std::string users_file(const Folder& folder, const std::string& lines) {
    std::ofstream(folder / "users") << lines;
    return folder / "users";
  }

  // No TCP connection here has bytes under way.
  static bool everything_is_acknowledged() {
    std::ifstream table("/proc/thread-self/net/tcp");
    std::string line;
    std::getline(table, line);
    while (std::getline(table, line)) {
      std::istringstream words(line);
      std::string word;
      for (int i = 0; i < 5; ++i) words >> word;
      // tx_queue; of one that listens it is something else.
      if (!word.starts_with("00000000:")) return false;
    }
    return true;
  }

  static std::unique_ptr<PostgresServer> server_;
};
std::unique_ptr<PostgresServer> PostgresTest::server_;

TEST_F(PostgresTest, SessionGoesOnInACloneAndTheParentsIsUndisturbed) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  const std::string parents = application.query("SELECT pg_backend_pid()");
  // Here is no parent that would do so after the clone.
  ASSERT_TRUE(support::eventually(std::chrono::seconds(20), everything_is_acknowledged));
  proxy.clone();
  const std::string clones = application.query("SELECT pg_backend_pid()");
  EXPECT_TRUE(clones.ends_with(" SELECT 1 I")) << clones;
  EXPECT_NE(clones, parents);
  const std::string pid = parents.substr(0, parents.find(' '));
  EXPECT_EQ(server_->direct().query("SELECT state FROM pg_stat_activity WHERE pid = " + pid),
            "idle SELECT 1 I");
  EXPECT_EQ(proxy.counts().reopened, 1u);
  EXPECT_EQ(proxy.counts().fenced, 1u);
}

TEST_F(PostgresTest, SettingsAreThereInTheCloneAsTheyWereCommitted) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("SET work_mem = '7MB'; SET search_path TO pg_catalog, public"),
            "SET SET I");
  EXPECT_EQ(application.query("SET TIME ZONE 'Asia/Tokyo'"), "SET I");
  EXPECT_EQ(application.query("SET statement_timeout = 12345"), "SET I");
  EXPECT_EQ(application.query("RESET statement_timeout"), "RESET I");
  EXPECT_EQ(application.query("BEGIN; SET work_mem = '9MB'; ROLLBACK"), "BEGIN SET ROLLBACK I");
  EXPECT_EQ(application.query("BEGIN; SAVEPOINT a; SET lock_timeout = 5000; ROLLBACK TO a; "
                              "SET deadlock_timeout = '4s'; COMMIT"),
            "BEGIN SAVEPOINT SET ROLLBACK SET COMMIT I");
  EXPECT_EQ(application.query("SET lock_timeout = 77; SELECT 1/0"), "SET !22012 I");
  EXPECT_EQ(application.query("SET ROLE scram"), "SET I");
  proxy.clone();
  EXPECT_EQ(
      application.query("SELECT current_setting('work_mem'), current_setting('timezone'), "
                        "current_setting('search_path'), "
                        "current_setting('statement_timeout'), "
                        "current_setting('lock_timeout'), current_setting('deadlock_timeout'), "
                        "current_user"),
      "7MB|Asia/Tokyo|pg_catalog, public|0|0|4s|scram SELECT 1 I");
}

// Each SET of DateStyle changes a part of it.
TEST_F(PostgresTest, DateStyleIsThereInTheCloneAsAWhole) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("SET datestyle TO german, mdy"), "SET I");
  EXPECT_EQ(application.query("SET datestyle TO ymd"), "SET I");
  EXPECT_EQ(application.query("BEGIN; SET LOCAL datestyle TO sql"), "BEGIN SET T");
  EXPECT_EQ(application.query("COMMIT"), "COMMIT I");
  EXPECT_EQ(application.query("BEGIN"), "BEGIN T");
  EXPECT_EQ(application.query("SET datestyle TO sql"), "SET T");
  EXPECT_EQ(application.query("ROLLBACK"), "ROLLBACK I");
  proxy.clone();
  EXPECT_EQ(application.query("SHOW datestyle"), "German, YMD SHOW I");
}

TEST_F(PostgresTest, PreparedStatementsAreThereInTheClone) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("PREPARE by_sql(int) AS SELECT $1 + 1"), "PREPARE I");
  EXPECT_EQ(application.query("PREPARE gone AS SELECT 1; DEALLOCATE gone"), "PREPARE DEALLOCATE I");
  application.send(parse_message("named", "SELECT 'named'") +
                   parse_message("", "SELECT 'unnamed'") + sync_message());
  EXPECT_EQ(application.answer(), "I");
  proxy.clone();
  EXPECT_EQ(application.query("EXECUTE by_sql(41)"), "42 SELECT 1 I");
  EXPECT_EQ(application.query("EXECUTE gone"), "!26000 I");
  proxy.clone();
  application.send(bind_message("named") + execute_message() + bind_message("") +
                   execute_message() + sync_message());
  EXPECT_EQ(application.answer(), "named SELECT 1 unnamed SELECT 1 I");
}

TEST_F(PostgresTest, ChannelsAreListenedToInTheCloneWithoutBeingAskedFor) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("LISTEN news; LISTEN \"Sport\"; LISTEN gone; UNLISTEN gone"),
            "LISTEN LISTEN LISTEN UNLISTEN I");
  EXPECT_EQ(application.query("BEGIN; LISTEN other; ROLLBACK"), "BEGIN LISTEN ROLLBACK I");
  proxy.clone();
  // The application says nothing, and hears what is told once its connection is there.
  const PostgresPeer other = server_->direct();
  ASSERT_TRUE(support::eventually(std::chrono::seconds(20), [&] {
    EXPECT_EQ(other.query("NOTIFY \"Sport\""), "NOTIFY I");
    pollfd entry{.fd = application.fd().get(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 50) == 1;
  }));
  EXPECT_EQ(application.receive().type, 'A');
  EXPECT_EQ(
      application.query("SELECT string_agg(c, ',' ORDER BY c) FROM pg_listening_channels() c"),
      "Sport,news SELECT 1 I");
}

TEST_F(PostgresTest, TransactionThatWasOpenFailsAndCanBeTriedAgain) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("CREATE TABLE IF NOT EXISTS kept(i int)"), "CREATE TABLE I");
  EXPECT_EQ(application.query("BEGIN"), "BEGIN T");
  EXPECT_EQ(application.query("INSERT INTO kept VALUES (1)"), "INSERT 0 1 T");
  proxy.clone();
  EXPECT_EQ(application.query("INSERT INTO kept VALUES (2)"), "!40001 E");
  EXPECT_EQ(application.query("SELECT 1"), "!25P02 E");
  application.send(parse_message("", "SELECT 1") + bind_message("") + execute_message() +
                   sync_message());
  EXPECT_EQ(application.answer(), "!25P02 E");
  EXPECT_EQ(application.query("ROLLBACK"), "ROLLBACK I");
  EXPECT_EQ(application.query("BEGIN; INSERT INTO kept VALUES (3); COMMIT"),
            "BEGIN INSERT 0 1 COMMIT I");
  EXPECT_EQ(application.query("SELECT string_agg(i::text, ',') FROM kept"), "3 SELECT 1 I");
}

// An application that isn't told would take it for done.
TEST_F(PostgresTest, CommitOfATransactionThatIsLostIsAnError) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("BEGIN"), "BEGIN T");
  proxy.clone();
  EXPECT_EQ(application.query("COMMIT"), "!40001 I");
  EXPECT_EQ(application.query("SELECT 1"), "1 SELECT 1 I");
  // As drivers do that prepare everything.
  EXPECT_EQ(application.query("BEGIN"), "BEGIN T");
  proxy.clone();
  application.send(parse_message("end", "ROLLBACK") + bind_message("end") + execute_message() +
                   sync_message());
  EXPECT_EQ(application.answer(), "ROLLBACK I");
  EXPECT_EQ(application.query("SELECT count(*) FROM pg_prepared_statements"), "1 SELECT 1 I");
}

TEST_F(PostgresTest, ReadOnlyTransactionBeginsAgainIfThatIsAskedFor) {
  PostgresConfig config = PostgresProxy::trusting();
  config.retry_read_only = true;
  PostgresProxy proxy(server_->port(), config);
  const PostgresPeer application = proxy.session();
  const PostgresPeer other = server_->direct();
  EXPECT_EQ(other.query("CREATE TABLE retried (n int)"), "CREATE TABLE I");
  EXPECT_EQ(other.query("BEGIN; LOCK TABLE retried"), "BEGIN LOCK TABLE T");
  EXPECT_EQ(application.query("SET work_mem = '7MB'"), "SET I");
  EXPECT_EQ(application.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), "BEGIN T");
  application.send(query_message("SELECT count(*) FROM retried"));
  const PostgresPeer watcher = server_->direct();
  const auto waiting = [&](const std::string& so_many) {
    return watcher.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") ==
           so_many + " SELECT 1 I";
  };
  ASSERT_TRUE(support::eventually(std::chrono::seconds(20), [&] { return waiting("1"); }));
  proxy.clone();
  // The parent's is there still.
  ASSERT_TRUE(support::eventually(std::chrono::seconds(20), [&] { return waiting("2"); }));
  EXPECT_EQ(other.query("INSERT INTO retried VALUES (1); COMMIT"), "INSERT 0 1 COMMIT I");
  // Of the state before: the statement has its snapshot when it waits.
  EXPECT_EQ(application.answer(), "0 SELECT 1 T");
  EXPECT_EQ(application.query("SELECT current_setting('transaction_isolation'), "
                              "current_setting('transaction_read_only'), "
                              "current_setting('work_mem')"),
            "repeatable read|on|7MB SELECT 1 T");
  EXPECT_EQ(application.query("COMMIT"), "COMMIT I");
}

TEST_F(PostgresTest, WhatCantBeSaidAgainEndsTheSession) {
  PostgresProxy proxy(server_->port());
  for (const std::string pin :
       {"CREATE TEMP TABLE t(i int)", "SELECT pg_advisory_lock(1)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "SELECT set_config('work_mem', '1MB', false)",
        "DO $$ BEGIN PERFORM set_config('work_mem', '1MB', false); END $$"}) {
    SCOPED_TRACE(pin);
    const PostgresPeer application = proxy.session();
    EXPECT_TRUE(application.query(pin).ends_with(" I"));
    proxy.clone();
    EXPECT_EQ(application.answer(), "!57P01 end");
  }
  // What is gone again is no reason.
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("BEGIN; CREATE TEMP TABLE t(i int); ROLLBACK"),
            "BEGIN CREATE TABLE ROLLBACK I");
  EXPECT_EQ(application.query("SELECT pg_advisory_xact_lock(2)"), " SELECT 1 I");
  EXPECT_EQ(application.query("CREATE TEMP TABLE t(i int)"), "CREATE TABLE I");
  EXPECT_EQ(application.query("DISCARD ALL"), "DISCARD ALL I");
  proxy.clone();
  EXPECT_EQ(application.query("SELECT 1"), "1 SELECT 1 I");
}

TEST_F(PostgresTest, ServerThatRestartsIsNoEndEither) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("SET work_mem = '6MB'"), "SET I");
  server_->stop();
  server_->start();
  EXPECT_EQ(application.query("SHOW work_mem"), "6MB SHOW I");
}

TEST_F(PostgresTest, CancelReachesTheServerThatTheSessionHasNow) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  proxy.clone();
  EXPECT_EQ(application.query("SELECT 1"), "1 SELECT 1 I");
  application.send(query_message("SELECT pg_sleep(600)"));
  const PostgresPeer other = server_->direct();
  ASSERT_TRUE(support::eventually(std::chrono::seconds(20), [&] {
    return other.query(
               "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(600)' AND "
               "state = 'active'") == "1 SELECT 1 I";
  }));
  const auto cancel = [&](std::string key) {
    std::string request;
    std::uint32_t process = 0;
    for (const char byte : key.substr(0, 4))
      process = process << 8 | static_cast<unsigned char>(byte);
    EXPECT_TRUE(pg::append_cancel_request(request, process, key.substr(4)));
    const PostgresPeer peer = proxy.connect();
    peer.send(request);
    EXPECT_EQ(wait_for_news(peer.fd()), Seen::kEnd);
  };
  std::string wrong = application.key();
  wrong.back() = static_cast<char>(wrong.back() ^ 1);
  cancel(wrong);
  EXPECT_TRUE(sees_nothing(application.fd()));
  cancel(application.key());
  EXPECT_EQ(application.answer(), "!57014 I");
}

TEST_F(PostgresTest, ApplicationsAreAuthenticatedAndLoggedIn) {
  const Folder folder;
  const std::string file =
      users_file(folder, "\"scram\" \"secret\"\n\"md5\" \"secret\"\n\"postgres\" \"mine\"\n");
  PostgresProxy proxy(server_->port(), {.users_file = file});
  const PostgresPeer scram = proxy.session("scram", "secret");
  EXPECT_EQ(scram.query("SELECT current_user"), "scram SELECT 1 I");
  const PostgresPeer md5 = proxy.session("md5", "secret");
  EXPECT_EQ(md5.query("SELECT current_user"), "md5 SELECT 1 I");
  const PostgresPeer trusted = proxy.session("postgres", "mine");
  EXPECT_EQ(trusted.query("SELECT current_user"), "postgres SELECT 1 I");
  EXPECT_EQ(proxy.connect().log_in("scram", "wrong"), "!28P01");
  EXPECT_EQ(proxy.connect().log_in("stranger", "secret"), "!28P01");
  proxy.clone();
  EXPECT_EQ(scram.query("SELECT current_user"), "scram SELECT 1 I");
  EXPECT_EQ(md5.query("SELECT current_user"), "md5 SELECT 1 I");
  // The file is read anew.
  users_file(folder, "\"scram\" \"changed\"\n\"md5\" \"secret\"\n");
  proxy.clone();
  EXPECT_EQ(scram.query("SELECT 1"), "!28P01 end");
  EXPECT_EQ(md5.query("SELECT 1"), "1 SELECT 1 I");
}

// No password is known: the application's proof tells what logs in where the same verifier is.
TEST_F(PostgresTest, VerifiersAreEnoughToLogIn) {
  const Folder folder;
  const std::string file =
      users_file(folder, "\"scram\" \"" + server_->verifier("scram") + "\"\n\"md5\" \"" +
                             server_->verifier("md5") + "\"\n");
  PostgresProxy proxy(server_->port(), {.users_file = file});
  const PostgresPeer scram = proxy.session("scram", "secret");
  const PostgresPeer md5 = proxy.session("md5", "secret");
  EXPECT_EQ(proxy.connect().log_in("md5", "wrong"), "!28P01");
  proxy.clone();
  EXPECT_EQ(scram.query("SELECT current_user"), "scram SELECT 1 I");
  EXPECT_EQ(md5.query("SELECT current_user"), "md5 SELECT 1 I");
}

TEST_F(PostgresTest, ServersErrorAtTheLoginIsTheApplications) {
  PostgresProxy proxy(server_->port());
  EXPECT_EQ(proxy.connect().log_in("nobody_there"), "!28000");
  EXPECT_EQ(proxy.connect().log_in("postgres", "", "no_database"), "!3D000");
}

TEST_F(PostgresTest, CopyPassesInBothDirections) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("CREATE TABLE IF NOT EXISTS copied(t text)"), "CREATE TABLE I");
  application.send(query_message("COPY copied FROM STDIN"));
  EXPECT_EQ(application.receive().type, 'G');
  const std::string data(100'000, 'x');
  const std::string header("d\0\1\x86\xa5", 5);  // 100001 bytes and the length's own
  application.send(header + data + "\n" + std::string("c\0\0\0\4", 5));
  EXPECT_EQ(application.answer(), "COPY 1 I");
  EXPECT_EQ(application.query("SELECT length(t) FROM copied"), "100000 SELECT 1 I");
  EXPECT_EQ(application.query("COPY (SELECT 1) TO STDOUT"), "COPY 1 I");
  proxy.clone();
  EXPECT_EQ(application.query("SELECT length(t) FROM copied"), "100000 SELECT 1 I");
}

TEST_F(PostgresTest, CopyByTheExtendedQueryPasses) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("CREATE TABLE numbers(n int CHECK (n < 3))"), "CREATE TABLE I");
  for (const auto& [row, tag] : {std::pair{"1\n", "COPY 1 I"}, {"3\n", "!23514 I"}}) {
    application.send(parse_message("", "COPY numbers FROM STDIN") + bind_message("") +
                     execute_message() + sync_message());
    for (const char type : {'1', '2', 'G'}) EXPECT_EQ(application.receive().type, type);
    application.send(std::string("d\0\0\0\6", 5) + row + std::string("c\0\0\0\4", 5) +
                     sync_message());
    EXPECT_EQ(application.answer(), tag);
    EXPECT_EQ(application.query("SELECT count(*) FROM numbers"), "1 SELECT 1 I");
    proxy.clone();
  }
  EXPECT_EQ(application.query("DROP TABLE numbers"), "DROP TABLE I");
}

TEST_F(PostgresTest, LargeValuesPassInBothDirections) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  const std::string value(900'000, 'v');
  std::thread writer([&] { application.send(query_message("SELECT '" + value + "'")); });
  EXPECT_TRUE(application.answer() == value + " SELECT 1 I");
  writer.join();
}

TEST_F(PostgresTest, ProgramsOfPostgresRunThroughIt) {
  PostgresProxy proxy(server_->port());
  EXPECT_EQ(proxy.program({"psql", "-X", "-A", "-t", "-c", "SELECT 6 * 7"}), "42\n");
  proxy.program({"pgbench", "-i", "-q"});
  for (const std::string mode : {"simple", "extended", "prepared"}) {
    SCOPED_TRACE(mode);
    const std::string report =
        proxy.program({"pgbench", "-n", "-S", "-M", mode, "-c", "4", "-t", "200"});
    EXPECT_NE(report.find("number of transactions actually processed: 800/800"), std::string::npos)
        << report;
  }
  const std::string report =
      proxy.program({"pgbench", "-n", "-M", "prepared", "-c", "4", "-t", "50"});
  EXPECT_NE(report.find("number of transactions actually processed: 200/200"), std::string::npos)
      << report;
}

TEST_F(PostgresTest, TlsToTheServerIsAskedForAnewInTheClone) {
  PostgresProxy proxy(
      server_->port(), PostgresProxy::trusting(), {},
      ClientTlsOptions{.ca_file = server_->certificate(), .server_name = PostgresServer::kName});
  const PostgresPeer application = proxy.session();
  const std::string is_encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
  EXPECT_EQ(application.query(is_encrypted), "t SELECT 1 I");
  proxy.clone();
  EXPECT_EQ(application.query(is_encrypted), "t SELECT 1 I");
}

TEST_F(PostgresTest, TlsIsSpokenWhereItIsAskedFor) {
  const Folder folder;
  make_certificate(folder, "proxy.test");
  PostgresProxy proxy(
      server_->port(), PostgresProxy::trusting(),
      ServerTlsOptions{.certificate = folder / "proxy.test.pem", .key = folder / "proxy.test.key"});
  EXPECT_EQ(proxy.connect().log_in("postgres"), "!28000");
  std::string request;
  pg::append_tls_request(request);
  // What came unencrypted behind the request may be anybody's.
  const PostgresPeer hasty = proxy.connect();
  hasty.send(request + "x");
  EXPECT_EQ(receive(hasty.fd(), 1), "");
  const std::string report = proxy.program(
      {"env", "HOME=/", "PGSSLMODE=require", "psql", "-X", "-A", "-t", "-c", "SELECT 'secure'"});
  EXPECT_EQ(report, "secure\n");
}

}  // namespace
}  // namespace clonesafe::proxy
