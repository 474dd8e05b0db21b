// Logins that must not come about, at either end: the test plays the server.
#include <openssl/ssl.h>

#include <fstream>

#include "proxy/wire/postgres/authentication.h"
#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/startup.h"
#include "proxy/wire/scram/password.h"
#include "proxy/wire/scram/server.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/postgres_played_server.h"

namespace clonesafe::proxy {
namespace {

namespace pg = wire::postgres;
namespace scram = wire::scram;

class PostgresLoginTest : public ProxyTest {
 protected:
  PostgresLoginTest() {
    enter_network();
    listener_ = listen_on(kFar, port_);
  }
  // The proxy has this secret of "postgres", whom it asks for none.
  PostgresConfig knowing(const std::string& secret) {
    std::ofstream(folder_ / "users") << "\"postgres\" \"" << secret << "\"\n";
    return {.authentication = PostgresAuthentication::kTrust, .users_file = folder_ / "users"};
  }
  // What an application gets while the server asks for its login like that.
  std::string log_in(const PostgresProxy& proxy,
                     const std::function<void(const PostgresPeer&)>& serve) {
    std::thread server([&] {
      const PostgresPeer peer(accept_from(listener_));
      peer.take_startup();
      serve(peer);
      EXPECT_EQ(wait_for_news(peer.fd()), Seen::kEnd) << "it was told more";
    });
    const std::string got = proxy.connect().log_in("postgres");
    server.join();
    return got;
  }

  Folder folder_;
  int port_ = 0;
  UniqueFd listener_;
};

TEST_F(PostgresLoginTest, PasswordIsNotSaidUnencrypted) {
  const PostgresProxy proxy(port_, knowing("secret"));
  EXPECT_EQ(log_in(proxy,
                   [](const PostgresPeer& server) {
                     std::string out;
                     pg::append_authentication_cleartext(out);
                     server.send(out);
                   }),
            "!28000");
}

// It could be anybody who is in between.
TEST_F(PostgresLoginTest, ServerThatDoesNotKnowThePasswordItselfIsLeft) {
  const PostgresProxy proxy(port_, knowing("secret"));
  EXPECT_EQ(log_in(proxy,
                   [](const PostgresPeer& server) {
                     const auto credential =
                         scram::derive_credential(scram::SecretText("secret"), "salt", 4096);
                     auto exchange = scram::Server::create(
                         scram::verifier_of(credential.value()).value(), "123456789012345678");
                     std::string out;
                     const std::array<std::string_view, 1> mechanisms = {scram::kMechanism};
                     EXPECT_TRUE(pg::append_authentication_sasl(out, mechanisms));
                     server.send(out);
                     const std::string initial = server.receive().body;
                     const auto response = pg::parse_sasl_initial_response(initial).value();
                     out.clear();
                     EXPECT_TRUE(pg::append_authentication_sasl_continue(
                         out, exchange->first(response.mechanism, *response.response).value()));
                     server.send(out);
                     std::string proof = exchange->final(server.receive().body).value();
                     // Of its signature, behind "v=".
                     proof[2] = proof[2] == 'A' ? 'B' : 'A';
                     out.clear();
                     EXPECT_TRUE(pg::append_authentication_sasl_final(out, proof));
                     pg::append_authentication_ok(out);
                     server.send(out + ready('I'));
                   }),
            "!28000");
}

// An application that speaks TLS from the first byte on.
class PostgresTlsLoginTest : public PostgresLoginTest {
 protected:
  PostgresTlsLoginTest() {
    make_certificate(folder_, "proxy.test");
    proxy_.emplace(port_, PostgresProxy::trusting(),
                   ServerTlsOptions{.certificate = folder_ / "proxy.test.pem",
                                    .key = folder_ / "proxy.test.key"});
    EXPECT_TRUE(
        pg::append_startup(startup_, pg::kVersion30, {{.name = "user", .value = "postgres"}}));
  }
  void connect(const std::vector<std::string>& alpn) {
    fd_ = connect_to("127.0.0.1", proxy_->port());
    const TlsContext context = TlsContext::client({.verify = false, .alpn = alpn}).value();
    tls_ = context.session().value();
    SSL_set_fd(tls_.get(), fd_.get());
    ASSERT_EQ(SSL_connect(tls_.get()), 1);
  }
  void say(const std::string& bytes) {
    EXPECT_GT(SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size())), 0);
  }
  void expect_end() {
    char byte = 0;
    if (wait_for_news(fd_) == Seen::kBytes) {
      EXPECT_LE(SSL_read(tls_.get(), &byte, 1), 0) << byte;
    }
    EXPECT_TRUE(sees_nothing(listener_));
  }

  std::optional<PostgresProxy> proxy_;
  std::string startup_;
  UniqueFd fd_;
  SslPointer tls_;
};

TEST_F(PostgresTlsLoginTest, TakesTheProtocolsName) {
  connect({});
  expect_end();
  connect({"postgresql"});
  say(startup_);
  EXPECT_EQ(receive(accept_from(listener_), startup_.size()), startup_);
}

TEST_F(PostgresTlsLoginTest, HasNoOtherEncryptionWithin) {
  connect({"postgresql"});
  std::string request;
  pg::append_tls_request(request);
  say(request);
  expect_end();
}

}  // namespace
}  // namespace clonesafe::proxy
