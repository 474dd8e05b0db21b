// Logins by what a command says, at a real PostgreSQL.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "proxy/protocols/postgres/admission.h"
#include "proxy/wire/postgres/startup.h"
#include "tests/unit/proxy/captured_log.h"
#include "tests/unit/proxy/command_fixture.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/postgres_secret_fixture.h"
#include "tests/unit/proxy/postgres_server.h"

namespace clonesafe::proxy {
namespace {

using testing::HasSubstr;
using testing::Not;

std::ptrdiff_t lines_but_access(const CapturedLog& log) {
  const std::string text = log.text();
  std::ptrdiff_t lines = std::ranges::count(text, '\n');
  for (std::size_t at = 0; (at = text.find(" access: ", at)) != text.npos; ++at) --lines;
  return lines;
}

class PostgresCommandTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { server_ = std::make_unique<PostgresServer>(); }
  static void TearDownTestSuite() { server_.reset(); }

  // Gives what write() wrote last.
  CommandConfig gives_users() {
    return command_of({make_script(
        folder_, "users", "echo >> " + (folder_ / "runs") + "; cat " + (folder_ / "secrets"))});
  }
  void write(const std::string& users) { std::ofstream(folder_ / "secrets") << users; }
  // How often it was run.
  std::uintmax_t runs() const { return std::filesystem::file_size(folder_ / "runs"); }

  static PostgresConfig with(const CommandConfig& command) { return {.users_command = command}; }
  PostgresProxy proxy(const PostgresConfig& config) {
    return PostgresProxy(server_->port(), config, {}, {}, Milliseconds(5'000), 0, {},
                         start({config.users_command}));
  }

  Folder folder_;
  static std::unique_ptr<PostgresServer> server_;
};
std::unique_ptr<PostgresServer> PostgresCommandTest::server_;

TEST_F(PostgresCommandTest, EachLoginRunsItAndSoDoesAClone) {
  write("\"scram\" \"secret\"\n");
  PostgresProxy proxy = this->proxy(with(gives_users()));
  const PostgresPeer application = proxy.session("scram", "secret");
  EXPECT_EQ(application.query("SELECT 1"), "1 SELECT 1 I");
  // The application's login, and the proxy's own.
  EXPECT_EQ(runs(), 2u);
  PostgresPeer wrong = proxy.connect();
  EXPECT_EQ(wrong.log_in("scram", "other"), "!28P01");
  EXPECT_EQ(runs(), 3u);

  EXPECT_EQ(server_->direct().query("ALTER ROLE scram PASSWORD 'of the clone'"), "ALTER ROLE I");
  write("\"scram\" \"of the clone\"\n");
  proxy.clone();
  EXPECT_EQ(application.query("SELECT 2"), "2 SELECT 1 I");
  EXPECT_EQ(runs(), 4u);
  const PostgresPeer next = proxy.session("scram", "of the clone");
  EXPECT_EQ(next.query("SELECT 3"), "3 SELECT 1 I");
  PostgresPeer late = proxy.connect();
  EXPECT_EQ(late.log_in("scram", "secret"), "!28P01");
  EXPECT_EQ(server_->direct().query("ALTER ROLE scram PASSWORD 'secret'"), "ALTER ROLE I");
}

TEST_F(PostgresCommandTest, FailureIsARefusedLoginAndALineWithoutOutput) {
  const struct {
    std::string script;
    std::string says;
  } cases[] = {
      {"echo '\"scram\" \"secret\"'; exit 3", "exit status 3"},
      {"echo '\"scram\" \"secret\"'; kill -9 $$", "ended by signal 9"},
      {"echo '\"scram\" \"secret\"'; head -c 1048577 /dev/zero", "more than 1 MiB"},
      {"echo scram secret", "line 1: no user's name in quotes"},
  };
  for (const auto& [script, says] : cases) {
    const CapturedLog log;
    const std::string program = make_script(folder_, "fails", script);
    {
      PostgresProxy proxy = this->proxy(with(command_of({program})));
      PostgresPeer application = proxy.connect();
      EXPECT_EQ(application.log_in("scram", "secret"), "!58000");
    }
    EXPECT_THAT(log.text(), HasSubstr("database: " + program)) << script;
    EXPECT_THAT(log.text(), HasSubstr(says));
    EXPECT_THAT(log.text(), Not(HasSubstr("secret")));
    EXPECT_EQ(lines_but_access(log), 1);
  }
}

TEST_F(PostgresCommandTest, ProxysOwnLoginFailsWithIt) {
  PostgresConfig config = with(command_of({make_script(folder_, "fails", "exit 3")}));
  config.authentication = PostgresAuthentication::kTrust;
  const CapturedLog log;
  {
    PostgresProxy proxy = this->proxy(config);
    PostgresPeer application = proxy.connect();
    EXPECT_EQ(application.log_in("scram"), "!58000");
    // Who is asked for no password needs none.
    EXPECT_EQ(proxy.session("postgres").query("SELECT 1"), "1 SELECT 1 I");
  }
  EXPECT_THAT(log.text(), HasSubstr("exit status 3; 127.0.0.1:"));
  EXPECT_EQ(lines_but_access(log), 1);
}

TEST_F(PostgresCommandTest, CommandThatRunsIsUnderWayBeforeASnapshot) {
  const std::string waits = folder_ / "waits";
  ASSERT_EQ(::mkfifo(waits.c_str(), 0600), 0);
  PostgresProxy proxy = this->proxy(with(command_of({"/bin/cat", waits})));
  PostgresPeer application = proxy.connect();
  std::thread logs_in([&] { EXPECT_EQ(application.log_in("scram", "secret"), ""); });
  EXPECT_TRUE(support::eventually(kLong, [&] { return proxy.commands_running() == 1; }));
  EXPECT_EQ(proxy.park(std::chrono::milliseconds(1)), 1u);
  std::ofstream(waits) << "\"scram\" \"secret\"\n";
  EXPECT_EQ(proxy.park(), 0u);
  EXPECT_EQ(proxy.upstream_connections(), 0u);
  // The application's login goes on, for which it is run again, and then the proxy's own.
  write("\"scram\" \"secret\"\n");
  std::filesystem::rename(folder_ / "secrets", waits);
  proxy.unpark();
  logs_in.join();
}

TEST_F(PostgresCommandTest, NothingIsFetchedWhileASnapshotIsTaken) {
  const ServiceConfig config{.name = "database", .protocol = Protocol::kPostgres};
  Upstream upstream(loop_, config.upstream, nullptr);
  Pool pool(config.upstream, upstream);
  SessionHost host{.loop = loop_, .config = config, .upstream = upstream, .pool = pool};
  Pair pair = make_pair(false);
  std::string startup;
  EXPECT_TRUE(wire::postgres::append_startup(startup, wire::postgres::kVersion30,
                                             {{.name = "user", .value = "scram"}}));
  send_all(pair.other, startup);
  upstream.park();
  const Client client;
  postgres::Admission admission(host, std::move(pair.stream), client);
  const auto admitted = run(admission.admit());
  ASSERT_FALSE(admitted);
  EXPECT_EQ(admitted.error().message(), "a snapshot of the machine is being taken");
  EXPECT_THAT(arrived(pair.other), HasSubstr("57P03"));
}

// As the documentation has it, but for where the document lies.
CommandConfig documented_command(const std::string& document) {
  std::ifstream text(CLONESAFE_DOCS_DIR "/proxy.md");
  std::string command;
  while (std::getline(text, command) && !command.starts_with("users_command = [\"/usr/bin/jq\"")) {
  }
  const std::string place = "/run/clonesafe/metadata";
  const auto found = command.find(place);
  EXPECT_NE(found, std::string::npos) << command;
  if (found == std::string::npos) return {};
  command.replace(found, place.size(), document);
  const auto config = parse_config(
      "[[service]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\nupstream.address = \"b:1\"\n"
      "protocol = \"postgres\"\npostgres." +
          command + "\n",
      "proxy.md");
  EXPECT_TRUE(config) << config.error().message();
  return config ? config->services.front().postgres.users_command : CommandConfig();
}

TEST_F(PostgresCommandTest, ClonesSecretComesWithTheOperatorsDocument) {
  const std::string document = folder_ / "metadata";
  const auto restore_with = [&](const std::string& password) {
    EXPECT_EQ(server_->direct().query("ALTER ROLE scram PASSWORD '" + password + "'"),
              "ALTER ROLE I");
    std::ofstream(document) << R"({"network": {}, "postgres_users": {"other": "a\"b", "scram": ")"
                            << password << "\"}}";
  };
  restore_with("of the parent");
  PostgresProxy proxy = this->proxy(with(documented_command(document)));
  const PostgresPeer application = proxy.session("scram", "of the parent");
  EXPECT_EQ(application.query("SELECT 1"), "1 SELECT 1 I");
  restore_with("of the clone");
  proxy.clone();
  EXPECT_EQ(application.query("SELECT 2"), "2 SELECT 1 I");
  // Without a document there is no secret.
  std::filesystem::remove(document);
  PostgresPeer next = proxy.connect();
  EXPECT_EQ(next.log_in("scram", "of the clone"), "!58000");
  EXPECT_EQ(server_->direct().query("ALTER ROLE scram PASSWORD 'secret'"), "ALTER ROLE I");
}

// The proxy's own login has this time besides that to connect.
TEST_F(PostgresCommandTest, SlowCommandIsWaitedFor) {
  write("\"scram\" \"secret\"\n");
  const CommandConfig slow =
      command_of({make_script(folder_, "slow", "sleep 0.6; cat " + (folder_ / "secrets"))});
  ServiceConfig config{.name = "database", .protocol = Protocol::kPostgres};
  config.postgres = with(slow);
  config.upstream.connect_timeout = Milliseconds(500);
  RunningService service;
  int port = 0;
  UniqueFd listener = listen_on("127.0.0.1", port);
  service.use(start({slow}));
  service.start(std::move(config), kFar, server_->port(), std::move(listener));
  PostgresPeer application(connect_to("127.0.0.1", port));
  EXPECT_EQ(application.log_in("scram", "secret"), "");
}

TEST(PostgresCommandSecretTest, LoginUnderWayHoldsNoSecretInAnyProcess) {
  const Folder folder;
  const std::string file = folder / "users";
  const CommandConfig command = command_of({"/bin/cat", file});
  expect_no_secret_of_a_login_under_way({.users_command = command}, file,
                                        [&] { return start({command}); });
}

}  // namespace
}  // namespace clonesafe::proxy
