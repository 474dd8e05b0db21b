// What the memory of a proxy holds while a snapshot is announced whose image shall hold no
// connection: the proxy is a process of its own, so that its memory can be searched for what only
// the test knows.
#ifndef CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_SECRET_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_SECRET_FIXTURE_H_

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <memory>
#include <random>

#include "proxy/wire/postgres/authentication.h"
#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/startup.h"
#include "proxy/wire/scram/client.h"
#include "proxy/wire/scram/crypto.h"
#include "proxy/wire/scram/message.h"
#include "proxy/wire/scram/password.h"
#include "proxy/wire/scram/verifier.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/postgres_server.h"
#include "tests/unit/proxy/process_memory.h"

namespace clonesafe::proxy {

// A proxy in a process of its own, made before any secret is drawn.
class ProxyProcess {
 public:
  // `start_commands` is called in it, and gives what runs its commands; null: it has none.
  using StartCommands = std::function<std::shared_ptr<const Commands>()>;
  ProxyProcess(int upstream_port, const PostgresConfig& config,
               const StartCommands& start_commands) {
    UniqueFd listener = listen_on("127.0.0.1", port_);
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    control_ = UniqueFd(ends[0]);
    const UniqueFd other(ends[1]);
    process_ = ::fork();
    if (process_ == 0) {
      control_.reset();
      serve(upstream_port, config, start_commands, std::move(listener), other);
      ::_exit(0);
    }
  }
  ~ProxyProcess() {
    control_.reset();
    int status = 0;
    EXPECT_EQ(::waitpid(process_, &status, 0), process_);
    EXPECT_EQ(status, 0);
  }

  PostgresPeer connect() const { return PostgresPeer(connect_to("127.0.0.1", port_)); }
  // Whether it has parted from all upstream connections.
  bool park() const {
    send_all(control_, "p");
    return receive(control_, 1) == "0";
  }
  void unpark() const { send_all(control_, "u"); }
  // The memory of all its processes.
  std::string memory() const {
    std::string all = memory_of(process_);
    for (const pid_t child : children_of(process_)) all += memory_of(child);
    return all;
  }

 private:
  static void serve(int upstream_port, const PostgresConfig& postgres,
                    const StartCommands& start_commands, UniqueFd listener,
                    const UniqueFd& control) {
    ServiceConfig config{.name = "database", .protocol = Protocol::kPostgres};
    config.postgres = postgres;
    RunningService service;
    if (start_commands) service.use(start_commands());
    service.start(std::move(config), kFar, upstream_port, std::move(listener));
    for (char call = 0; ::read(control.get(), &call, 1) == 1;) {
      if (call == 'u') {
        service->unpark();
        continue;
      }
      std::uint64_t open = 0;
      for (const ServiceCensus& one :
           service->park({.part = true, .deadline = std::chrono::seconds(20)}).get())
        open += one.upstreams.open + one.commands_running;
      const char answer = open == 0 ? '0' : '1';
      if (::write(control.get(), &answer, 1) != 1) return;
    }
  }

  int port_ = 0;
  UniqueFd control_;
  pid_t process_ = -1;
};

inline std::string random_text() {
  std::random_device device;
  std::string text;
  for (int i = 0; i < 40; ++i) text += static_cast<char>('a' + device() % 26);
  return text;
}

// An application's login, in two halves.
class ScramLogin {
 public:
  ScramLogin(const PostgresPeer& peer, const std::string& password)
      : peer_(peer),
        client_(wire::scram::Client::with_password(password, "123456789012345678").value()) {}

  // What it is asked for.
  wire::scram::ServerFirst begin() {
    std::string out;
    EXPECT_TRUE(wire::postgres::append_startup(
        out, wire::postgres::kVersion30,
        {{.name = "user", .value = "scram"}, {.name = "database", .value = "postgres"}}));
    peer_.send(out);
    EXPECT_EQ(next_request().kind, wire::postgres::Authentication::Kind::kSasl);
    const std::string first = client_.first();
    out.clear();
    EXPECT_TRUE(wire::postgres::append_sasl_initial_response(
        out, {.mechanism = client_.mechanism(), .response = first}));
    peer_.send(out);
    next_request();
    return wire::scram::parse_server_first(request_.data).value();
  }
  void finish() {
    std::string out;
    EXPECT_TRUE(wire::postgres::append_sasl_response(out, client_.final(request_.data).value()));
    peer_.send(out);
    PostgresMessage message;
    do {
      message = peer_.receive();
      ASSERT_NE(message.type, 'E');
      ASSERT_NE(message.type, 0);
    } while (message.type != 'Z');
  }

 private:
  const wire::postgres::Authentication& next_request() {
    message_ = peer_.receive();
    EXPECT_EQ(message_.type, 'R') << "no login";
    request_ = wire::postgres::parse_authentication(message_.body).value();
    return request_;
  }

  const PostgresPeer& peer_;
  wire::scram::Client client_;
  PostgresMessage message_;
  wire::postgres::Authentication request_;
};

struct Secret {
  std::string name;
  std::string bytes;
};

inline void add_keys(std::vector<Secret>& secrets, const std::string& of,
                     const std::string& password, const std::string& salt,
                     std::uint32_t iterations) {
  const auto salted = wire::scram::pbkdf2_sha256(password, salt, iterations).value();
  secrets.push_back({.name = "salted password " + of, .bytes = std::string(salted.view())});
  const auto credential =
      wire::scram::derive_credential(wire::scram::SecretText(password), salt, iterations).value();
  secrets.push_back(
      {.name = "client key " + of, .bytes = std::string(credential.client_key.view())});
  secrets.push_back(
      {.name = "server key " + of, .bytes = std::string(credential.server_key.view())});
}

// One whose application was asked for its proof, and gives it afterwards.
inline void expect_no_secret_of_a_login_under_way(
    const PostgresConfig& config, const std::string& users_file,
    const ProxyProcess::StartCommands& start_commands) {
  std::ofstream(users_file) << "\n";
  PostgresServer server;
  const ProxyProcess proxy(server.port(), config, start_commands);
  const std::string password = random_text();
  EXPECT_EQ(server.direct().query("ALTER ROLE scram PASSWORD '" + password + "'"), "ALTER ROLE I");
  std::ofstream(users_file) << "\"scram\" \"" << password << "\"\n";
  const PostgresPeer application = proxy.connect();
  ScramLogin login(application, password);
  const wire::scram::ServerFirst asked = login.begin();
  ASSERT_TRUE(proxy.park());
  std::vector<Secret> secrets = {{.name = "password", .bytes = password}};
  add_keys(secrets, "that the proxy asked for", password, asked.salt, asked.iterations);
  const std::string memory = proxy.memory();
  EXPECT_NE(memory.find(asked.nonce), std::string::npos) << "it was not searched";
  for (const auto& [name, bytes] : secrets)
    EXPECT_EQ(memory.find(bytes), std::string::npos) << name;
  proxy.unpark();
  login.finish();
  EXPECT_EQ(application.query("SELECT 1"), "1 SELECT 1 I");
}

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_SECRET_FIXTURE_H_
