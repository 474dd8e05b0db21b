#include "tests/unit/proxy/postgres_server.h"

#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "tests/unit/proxy/network.h"

namespace clonesafe::proxy {
namespace {

// Of Debian's package.
const std::string kPrograms = "/usr/lib/postgresql/15/bin/";

// A server refuses to run as root.
const passwd& server_user() {
  static const passwd* const user = [] {
    const passwd* const postgres = ::getpwnam("postgres");
    return postgres != nullptr ? postgres : ::getpwnam("nobody");
  }();
  return *user;
}

void become_server_user() {
  if (::geteuid() != 0) return;
  if (::setgroups(0, nullptr) != 0 || ::setgid(server_user().pw_gid) != 0 ||
      ::setuid(server_user().pw_uid) != 0 || ::chdir("/") != 0)
    ::_exit(126);
}

}  // namespace

PostgresServer::PostgresServer() {
  enter_network();
  if (::geteuid() == 0) {
    EXPECT_EQ(::chown((folder_ / "").c_str(), server_user().pw_uid, server_user().pw_gid), 0);
  }
  auto made = run({kPrograms + "initdb", "-D", folder_ / "data", "-U", "postgres", "-A", "trust",
                   "--no-sync", "--locale=C", "-E", "UTF8"},
                  2);
  EXPECT_EQ(made.wait(std::chrono::seconds(120)).value(), 0);
  std::ofstream(folder_ / "data/pg_hba.conf") << "host all scram 0.0.0.0/0 scram-sha-256\n"
                                                 "host all md5 0.0.0.0/0 md5\n"
                                                 "host all all 0.0.0.0/0 trust\n";
  make_certificate(folder_, kName);
  if (::geteuid() == 0) {
    EXPECT_EQ(::chown(key().c_str(), server_user().pw_uid, server_user().pw_gid), 0);
  }
  EXPECT_EQ(::chmod(key().c_str(), S_IRUSR), 0);
  listen_on(kFar, port_).reset();
  start();
  const PostgresPeer first = direct();
  EXPECT_EQ(first.query("SET password_encryption = 'md5'; CREATE ROLE md5 LOGIN PASSWORD 'secret'"),
            "SET CREATE ROLE I");
  EXPECT_EQ(first.query("SET password_encryption = 'scram-sha-256'; "
                        "CREATE ROLE scram LOGIN PASSWORD 'secret'"),
            "SET CREATE ROLE I");
}

PostgresServer::~PostgresServer() {
  stop();
}

support::ChildProcess PostgresServer::run(const std::vector<std::string>& command, int output) {
  auto process = support::ChildProcess::start(
      {.command = command, .output = output, .in_child = become_server_user});
  EXPECT_TRUE(process) << process.error().message();
  return std::move(*process);
}

void PostgresServer::start() {
  process_.emplace(run({kPrograms + "postgres",
                        "-D",
                        folder_ / "data",
                        "-h",
                        kFar,
                        "-p",
                        std::to_string(port_),
                        "-k",
                        "",
                        "-F",
                        "-c",
                        "autovacuum=off",
                        "-c",
                        "log_min_messages=fatal",
                        "-c",
                        "shared_buffers=16MB",
                        "-c",
                        "ssl=on",
                        "-c",
                        "ssl_cert_file=" + certificate(),
                        "-c",
                        "ssl_key_file=" + key()},
                       2));
  EXPECT_TRUE(support::eventually(std::chrono::seconds(60), [this] {
    auto ready = run({kPrograms + "pg_isready", "-q", "-h", kFar, "-p", std::to_string(port_)});
    return ready.wait(std::chrono::seconds(20)).value_or(1) == 0;
  }));
}

void PostgresServer::stop() {
  if (!process_) return;
  process_->signal(SIGINT);  // "fast"
  EXPECT_TRUE(process_->wait(std::chrono::seconds(60)));
  process_.reset();
}

PostgresPeer PostgresServer::direct() const {
  PostgresPeer peer(connect_to(kFar, port_));
  EXPECT_EQ(peer.log_in("postgres"), "");
  return peer;
}

std::string PostgresServer::verifier(const std::string& user) const {
  const std::string answer =
      direct().query("SELECT rolpassword FROM pg_authid WHERE rolname = '" + user + "'");
  return answer.substr(0, answer.find(' '));
}

PostgresProxy::PostgresProxy(int upstream_port, PostgresConfig postgres,
                             std::optional<ServerTlsOptions> listen_tls,
                             std::optional<ClientTlsOptions> upstream_tls, Milliseconds hold,
                             std::uint32_t max_connections, Milliseconds lifetime,
                             std::shared_ptr<const Commands> commands) {
  ServiceConfig config{.name = "database", .protocol = Protocol::kPostgres};
  config.upstream.tls = std::move(upstream_tls);
  config.listen_tls = std::move(listen_tls);
  config.postgres = std::move(postgres);
  config.hold = hold;
  config.upstream.max_connections = max_connections;
  config.upstream.lifetime = lifetime;
  config.access_log = true;
  worker_.use(std::move(commands));
  worker_.start(std::move(config), kFar, upstream_port, listen_on("127.0.0.1", port_));
}

PostgresProxy PostgresProxy::pooling(int upstream_port, std::uint32_t max_connections,
                                     Milliseconds hold, Milliseconds lifetime) {
  PostgresConfig config = trusting();
  config.pooling = PostgresPooling::kTransaction;
  return PostgresProxy(upstream_port, std::move(config), {}, {}, hold, max_connections, lifetime);
}

std::string PostgresProxy::program(std::vector<std::string> command) const {
  for (const auto& more : {std::string("-h"), std::string("127.0.0.1"), std::string("-p"),
                           std::to_string(port_), std::string("-U"), std::string("postgres")})
    command.push_back(more);
  command.push_back("postgres");
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  auto process = PostgresServer::run(command, ends[1]);
  ::close(ends[1]);
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t count = 0; (count = ::read(ends[0], buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<std::size_t>(count));
  ::close(ends[0]);
  EXPECT_EQ(process.wait(std::chrono::seconds(60)).value_or(-1), 0);
  return text;
}

PostgresPeer PostgresProxy::connect() const {
  return PostgresPeer(connect_to("127.0.0.1", port_));
}

PostgresPeer PostgresProxy::session(const std::string& user, const std::string& password) const {
  PostgresPeer peer = connect();
  EXPECT_EQ(peer.log_in(user, password), "");
  return peer;
}

void PostgresProxy::clone() {
  clone_this_machine();
  worker_->fence();
}

std::uint64_t PostgresProxy::park(std::chrono::milliseconds deadline) {
  std::uint64_t open = 0;
  for (const ServiceCensus& service : worker_->park({.part = true, .deadline = deadline}).get())
    open += service.upstreams.open + service.commands_running;
  return open;
}

}  // namespace clonesafe::proxy
