// PostgreSQL sessions before an announced snapshot whose image shall hold no connection.
#include <gmock/gmock.h>

#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/postgres_server.h"

namespace clonesafe::proxy {
namespace {

constexpr std::chrono::milliseconds kNow{1};

class PostgresParkTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { server_ = std::make_unique<PostgresServer>(); }
  static void TearDownTestSuite() { server_.reset(); }

  bool server_has_session(const std::string& process) const {
    const std::string count =
        server_->direct().query("SELECT count(*) FROM pg_stat_activity WHERE pid = " + process);
    return count == "1 SELECT 1 I";
  }
  std::string process_of(const PostgresPeer& application) const {
    const std::string answer = application.query("SELECT pg_backend_pid()");
    return answer.substr(0, answer.find(' '));
  }

  static std::unique_ptr<PostgresServer> server_;
};
std::unique_ptr<PostgresServer> PostgresParkTest::server_;

TEST_F(PostgresParkTest, IdleSessionIsClosedWithAGoodbyeAndIsThereAgainAfterwards) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("SET work_mem = '7MB'; PREPARE one AS SELECT 1"), "SET PREPARE I");
  const std::string process = process_of(application);
  EXPECT_EQ(proxy.park(), 0u);
  EXPECT_TRUE(
      support::eventually(std::chrono::seconds(20), [&] { return !server_has_session(process); }));
  application.send(query_message("SELECT current_setting('work_mem')"));
  EXPECT_TRUE(sees_nothing(application.fd())) << "an answer while it was parked";
  proxy.unpark();
  EXPECT_EQ(application.answer(), "7MB SELECT 1 I");
  EXPECT_EQ(application.query("EXECUTE one"), "1 SELECT 1 I");
  EXPECT_NE(process_of(application), process);
}

TEST_F(PostgresParkTest, ChannelsAreListenedToAgainWithoutBeingAskedFor) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("LISTEN news"), "LISTEN I");
  EXPECT_EQ(proxy.park(), 0u);
  proxy.unpark();
  EXPECT_TRUE(support::eventually(std::chrono::seconds(20), [&] {
    EXPECT_EQ(server_->direct().query("NOTIFY news"), "NOTIFY I");
    return !sees_nothing(application.fd());
  }));
}

TEST_F(PostgresParkTest, TransactionKeepsItsConnection) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("BEGIN; CREATE TABLE parked (n int)"), "BEGIN CREATE TABLE T");
  EXPECT_EQ(proxy.park(kNow), 1u);
  proxy.unpark();
  EXPECT_EQ(application.query("INSERT INTO parked VALUES (1); COMMIT"), "INSERT 0 1 COMMIT I");
  EXPECT_EQ(application.query("DROP TABLE parked"), "DROP TABLE I");
}

TEST_F(PostgresParkTest, StatementThatRunsKeepsItsConnection) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  const PostgresPeer holder = server_->direct();
  EXPECT_EQ(holder.query("SELECT pg_advisory_lock(7)"), " SELECT 1 I");
  application.send(query_message("SELECT pg_advisory_xact_lock(7)"));
  EXPECT_TRUE(support::eventually(std::chrono::seconds(20), [&] {
    return server_->direct().query("SELECT count(*) FROM pg_locks WHERE NOT granted") ==
           "1 SELECT 1 I";
  }));
  EXPECT_EQ(proxy.park(kNow), 1u);
  EXPECT_EQ(holder.query("SELECT pg_advisory_unlock(7)"), "t SELECT 1 I");
  EXPECT_EQ(application.answer(), " SELECT 1 I");
  // Asked again, as until the deadline.
  EXPECT_EQ(proxy.park(), 0u);
  proxy.unpark();
  EXPECT_EQ(application.query("SELECT 2"), "2 SELECT 1 I");
}

TEST_F(PostgresParkTest, SessionThatCanNotBeSaidAgainKeepsItsConnection) {
  PostgresProxy proxy(server_->port());
  const PostgresPeer application = proxy.session();
  EXPECT_EQ(application.query("CREATE TEMP TABLE mine (n int)"), "CREATE TABLE I");
  EXPECT_EQ(proxy.park(kNow), 1u);
  proxy.unpark();
  EXPECT_EQ(application.query("SELECT count(*) FROM mine"), "0 SELECT 1 I");
}

}  // namespace
}  // namespace clonesafe::proxy
