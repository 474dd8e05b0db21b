#ifndef CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_SERVER_H_
#define CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_SERVER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/child_process.h"
#include "tests/unit/proxy/postgres_client.h"
#include "tests/unit/proxy/proxy_fixture.h"
#include "tests/unit/proxy/running_service.h"

namespace clonesafe::proxy {

// A real PostgreSQL at kFar, as a user of few rights. `postgres` comes in without a password,
// "scram" and "md5" with theirs, which is "secret".
class PostgresServer {
 public:
  PostgresServer();
  ~PostgresServer();

  static constexpr const char* kName = "server.test";

  void start();
  void stop();
  // Of its own authority, for kName.
  std::string certificate() const { return folder_ / (std::string(kName) + ".pem"); }
  int port() const { return port_; }
  // A connection that the proxy has no part in.
  PostgresPeer direct() const;
  // What SCRAM's verifier of a user is.
  std::string verifier(const std::string& user) const;

  static support::ChildProcess run(const std::vector<std::string>& command, int output = 1);

 private:
  std::string key() const { return folder_ / (std::string(kName) + ".key"); }

  Folder folder_;
  int port_ = 0;
  std::optional<support::ChildProcess> process_;
};

// One service, in front of a server at kFar.
class PostgresProxy {
 public:
  explicit PostgresProxy(int upstream_port, PostgresConfig postgres = trusting(),
                         std::optional<ServerTlsOptions> listen_tls = {},
                         std::optional<ClientTlsOptions> upstream_tls = {},
                         Milliseconds hold = Milliseconds(5'000), std::uint32_t max_connections = 0,
                         Milliseconds lifetime = Milliseconds(0),
                         std::shared_ptr<const Commands> commands = nullptr);
  // Whose applications share so many connections.
  static PostgresProxy pooling(int upstream_port, std::uint32_t max_connections,
                               Milliseconds hold = Milliseconds(20'000),
                               Milliseconds lifetime = Milliseconds(0));

  // What a program of PostgreSQL's own prints as an application of it.
  std::string program(std::vector<std::string> command) const;

  static PostgresConfig trusting() {
    return {.authentication = PostgresAuthentication::kTrust, .users_file = {}};
  }
  int port() const { return port_; }
  PostgresPeer connect() const;
  // Of an application that logged in.
  PostgresPeer session(const std::string& user = "postgres",
                       const std::string& password = {}) const;
  void clone();
  // A snapshot is announced whose image shall hold no connection; gives how many are left,
  // with commands that run.
  std::uint64_t park(std::chrono::milliseconds deadline = std::chrono::seconds(20));
  void unpark() { worker_->unpark(); }
  void wait_for_ends() const { worker_.wait_for_ends(); }
  std::uint64_t sessions() { return worker_->census().at(0).sessions; }
  std::uint64_t upstream_connections() { return worker_->census().at(0).upstreams.open; }
  std::uint64_t commands_running() { return worker_->census().at(0).commands_running; }
  ServiceCounts counts() { return worker_->census().at(0).counts; }

 private:
  int port_ = 0;
  RunningService worker_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_SERVER_H_
