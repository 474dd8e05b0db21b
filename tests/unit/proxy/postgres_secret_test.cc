// What the memory of a proxy holds while a snapshot is announced whose image shall hold no
// connection: the proxy is a process of its own, so that its memory can be searched for what only
// the test knows.
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcntl.h>
#include <signal.h>

#include <cstring>
#include <fstream>
#include <random>
#include <sstream>

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

namespace clonesafe::proxy {
namespace {

namespace pg = wire::postgres;
namespace scram = wire::scram;

// A proxy in a process of its own, made before any secret is drawn.
class ProxyProcess {
 public:
  ProxyProcess(int upstream_port, const std::string& users_file) {
    UniqueFd listener = listen_on("127.0.0.1", port_);
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    control_ = UniqueFd(ends[0]);
    const UniqueFd other(ends[1]);
    process_ = ::fork();
    if (process_ == 0) {
      control_.reset();
      serve(upstream_port, users_file, std::move(listener), other);
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
  // All memory that it can write to.
  std::string memory() const {
    const std::string folder = "/proc/" + std::to_string(process_);
    const UniqueFd memory(::open((folder + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_GE(memory.get(), 0) << std::strerror(errno);
    std::ifstream maps(folder + "/maps");
    std::string all;
    for (std::string line; std::getline(maps, line);) {
      std::istringstream words(line);
      std::uint64_t begin = 0, end = 0;
      char dash = 0;
      std::string rights;
      words >> std::hex >> begin >> dash >> end >> rights;
      if (!rights.starts_with("rw") || end - begin > kMostOfAMapping) continue;
      std::string part(end - begin, '\0');
      const ssize_t count =
          ::pread(memory.get(), part.data(), part.size(), static_cast<off_t>(begin));
      if (count > 0) all.append(part, 0, static_cast<std::size_t>(count));
    }
    return all;
  }

 private:
  // Address space that was only reserved.
  static constexpr std::uint64_t kMostOfAMapping = std::uint64_t{1} << 30;

  static void serve(int upstream_port, const std::string& users_file, UniqueFd listener,
                    const UniqueFd& control) {
    ServiceConfig config{.name = "database", .protocol = Protocol::kPostgres};
    config.postgres.users_file = users_file;
    RunningService service;
    std::ofstream(users_file) << "\n";
    service.start(std::move(config), kFar, upstream_port, std::move(listener));
    for (char call = 0; ::read(control.get(), &call, 1) == 1;) {
      std::uint64_t open = 0;
      for (const ServiceCensus& one :
           service->park({.part = true, .deadline = std::chrono::seconds(20)}).get())
        open += one.upstreams.open;
      const char answer = open == 0 ? '0' : '1';
      if (::write(control.get(), &answer, 1) != 1) return;
    }
  }

  int port_ = 0;
  UniqueFd control_;
  pid_t process_ = -1;
};

std::string random_text() {
  std::random_device device;
  std::string text;
  for (int i = 0; i < 40; ++i) text += static_cast<char>('a' + device() % 26);
  return text;
}

// An application's login, and the salt that it was asked for.
scram::ServerFirst log_in_by_scram(const PostgresPeer& peer, const std::string& password) {
  std::string out;
  EXPECT_TRUE(pg::append_startup(
      out, pg::kVersion30,
      {{.name = "user", .value = "scram"}, {.name = "database", .value = "postgres"}}));
  peer.send(out);
  auto client = scram::Client::with_password(password, "123456789012345678").value();
  scram::ServerFirst asked;
  for (;;) {
    const PostgresMessage message = peer.receive();
    if (message.type == 0 || message.type == 'E') {
      ADD_FAILURE() << "no login";
      return asked;
    }
    if (message.type == 'Z') return asked;
    if (message.type != 'R') continue;
    const auto request = pg::parse_authentication(message.body).value();
    out.clear();
    if (request.kind == pg::Authentication::Kind::kSasl) {
      const std::string first = client.first();
      EXPECT_TRUE(pg::append_sasl_initial_response(
          out, {.mechanism = client.mechanism(), .response = first}));
    } else if (request.kind == pg::Authentication::Kind::kSaslContinue) {
      const auto parsed = scram::parse_server_first(request.data).value();
      asked.salt = parsed.salt;
      asked.iterations = parsed.iterations;
      EXPECT_TRUE(pg::append_sasl_response(out, client.final(request.data).value()));
    }
    if (!out.empty()) peer.send(out);
  }
}

struct Secret {
  std::string name;
  std::string bytes;
};

void add_keys(std::vector<Secret>& secrets, const std::string& of, const std::string& password,
              const std::string& salt, std::uint32_t iterations) {
  const auto salted = scram::pbkdf2_sha256(password, salt, iterations).value();
  secrets.push_back({.name = "salted password " + of, .bytes = std::string(salted.view())});
  const auto credential =
      scram::derive_credential(scram::SecretText(password), salt, iterations).value();
  secrets.push_back(
      {.name = "client key " + of, .bytes = std::string(credential.client_key.view())});
  secrets.push_back(
      {.name = "server key " + of, .bytes = std::string(credential.server_key.view())});
}

TEST(PostgresSecretTest, ParkedProxyHoldsNeitherPasswordsNorKeys) {
  PostgresServer server;
  const Folder folder;
  const std::string users_file = folder / "users";
  const ProxyProcess proxy(server.port(), users_file);
  const std::string password = random_text(), other_password = random_text();
  const PostgresPeer direct = server.direct();
  EXPECT_EQ(direct.query("SET password_encryption = 'scram-sha-256'; ALTER ROLE scram PASSWORD '" +
                         password + "'"),
            "SET ALTER ROLE I");
  EXPECT_EQ(direct.query("SET password_encryption = 'md5'; ALTER ROLE md5 PASSWORD '" +
                         other_password + "'"),
            "SET ALTER ROLE I");
  const std::string md5 = std::string(scram::md5_verifier(other_password, "md5").value().view());
  std::ofstream(users_file) << "\"scram\" \"" << password << "\"\n\"md5\" \"" << md5 << "\"\n";

  const PostgresPeer application = proxy.connect();
  const scram::ServerFirst asked = log_in_by_scram(application, password);
  PostgresPeer other = proxy.connect();
  EXPECT_EQ(other.log_in("md5", other_password), "");
  EXPECT_EQ(application.query("SELECT 1"), "1 SELECT 1 I");
  EXPECT_EQ(other.query("SELECT 2"), "2 SELECT 1 I");
  ASSERT_TRUE(proxy.park());

  std::vector<Secret> secrets = {{.name = "password", .bytes = password},
                                 {.name = "md5 verifier", .bytes = md5}};
  add_keys(secrets, "that the proxy asked for", password, asked.salt, asked.iterations);
  const auto verifier = scram::parse_verifier(server.verifier("scram")).value();
  add_keys(secrets, "that the server asked for", password, verifier.salt, verifier.iterations);
  const std::string memory = proxy.memory();
  EXPECT_NE(memory.find(users_file), std::string::npos) << "it was not searched";
  for (const auto& [name, bytes] : secrets)
    EXPECT_EQ(memory.find(bytes), std::string::npos) << name;
}

}  // namespace
}  // namespace clonesafe::proxy
