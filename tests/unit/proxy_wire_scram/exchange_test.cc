// Client and server halves, against examples and against each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/scram/client.h"
#include "proxy/wire/scram/server.h"
#include "tests/unit/proxy_wire_scram/examples.h"

namespace clonesafe::wire::scram {
namespace {

using testing::HasSubstr;

constexpr std::string_view kNonceA = "client nonce of 25 bytes.";
constexpr std::string_view kNonceB = "server nonce of 25 bytes.";

Verifier verifier_for(std::string_view password) {
  return *verifier_of(*derive_credential(*prepare_password(password), "salt", 4096));
}

TEST(ScramExchange, IsThatOfTheRfc) {
  auto client = Client::with_password("pencil", kNonceA);
  client->set_names_for_testing("user", std::string(rfc7677::kClientNonce));
  EXPECT_EQ(client->first(), rfc7677::kClientFirst);
  EXPECT_EQ(*client->final(rfc7677::kServerFirst), rfc7677::kClientFinal);
  EXPECT_TRUE(client->verify(rfc7677::kServerFinal));

  auto server = Server::create(*verifier_of(*client->credential()), kNonceB);
  server->set_nonce_for_testing(std::string(rfc7677::kServerNonce));
  EXPECT_EQ(*server->first(kMechanism, rfc7677::kClientFirst), rfc7677::kServerFirst);
  EXPECT_EQ(*server->final(rfc7677::kClientFinal), rfc7677::kServerFinal);
}

TEST(ScramExchange, IsThatOfPsqlAndPostgresql15) {
  using namespace postgresql15;
  auto client = Client::with_password("secret", *from_base64(kClientNonce));
  EXPECT_EQ(client->first(), kClientFirst);
  EXPECT_EQ(*client->final(kServerFirst), kClientFinal);
  EXPECT_TRUE(client->verify(kServerFinal));
  EXPECT_EQ(format_verifier(*verifier_of(*client->credential())), kVerifier);

  auto server = Server::create(*parse_verifier(kVerifier), *from_base64(kServerNonce));
  EXPECT_EQ(*server->first(kMechanism, kClientFirst), kServerFirst);
  EXPECT_EQ(*server->final(kClientFinal), kServerFinal);
}

TEST(ScramExchange, GivesAPassThroughServerWhatLogsInUpstream) {
  const auto verifier = verifier_for("secret");
  auto application = Client::with_password("secret", kNonceA);
  auto proxy = Server::create(verifier, kNonceB);
  const auto final = application->final(*proxy->first(kMechanism, application->first()));
  EXPECT_FALSE(proxy->credential());
  ASSERT_TRUE(application->verify(*proxy->final(*final)));
  ASSERT_TRUE(proxy->credential());

  auto again = Client::with_credential(*proxy->credential(), "another nonce of the proxy's");
  auto upstream = Server::create(verifier, "another nonce of the server's");
  const auto proof = again->final(*upstream->first(kMechanism, again->first()));
  ASSERT_TRUE(proof);
  EXPECT_TRUE(again->verify(*upstream->final(*proof)));

  // With another salt it can't.
  auto other = Server::create(
      *verifier_of(*derive_credential(*prepare_password("secret"), "pepper", 4096)), kNonceB);
  auto refused = Client::with_credential(*proxy->credential(), kNonceA);
  EXPECT_THAT(refused->final(*other->first(kMechanism, refused->first())).error().message(),
              HasSubstr("salt or iterations aren't those of the key"));
}

TEST(ScramExchange, RefusesAWrongPasswordAndADecoyAlike) {
  Key secret;
  secret.data()[0] = 1;
  const auto decoy = decoy_verifier("nobody", secret);
  EXPECT_EQ(decoy->salt, decoy_verifier("nobody", secret)->salt);
  EXPECT_NE(decoy->salt, decoy_verifier("somebody", secret)->salt);
  for (const auto& verifier : {verifier_for("secret"), *decoy}) {
    auto client = Client::with_password("wrong", kNonceA);
    auto server = Server::create(verifier, kNonceB);
    const auto proof = client->final(*server->first(kMechanism, client->first()));
    ASSERT_TRUE(proof);
    EXPECT_FALSE(server->password_is_wrong());
    const auto answer = server->final(*proof);
    ASSERT_FALSE(answer);
    EXPECT_TRUE(server->password_is_wrong());
    EXPECT_FALSE(server->credential());
    EXPECT_EQ(answer.error().message(), "SCRAM: the password is wrong");
  }
}

TEST(ScramExchange, NeverLetsADecoyIn) {
  auto verifier = verifier_for("secret");
  verifier.decoy = true;
  auto client = Client::with_password("secret", kNonceA);
  auto server = Server::create(verifier, kNonceB);
  EXPECT_FALSE(server->final(*client->final(*server->first(kMechanism, client->first()))));
}

TEST(ScramClient, RefusesAServerThatDoesNotKnowThePassword) {
  using namespace postgresql15;
  for (const auto& [answer, error] : std::vector<std::pair<std::string, const char*>>{
           {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "signature is wrong"},
           {"v=6rriTRBi23Wp", "isn't base64 of 32 bytes"},
           {"", "attribute v expected"},
           {std::string(kServerFinal) + ",", "more than there can be"},
           {"x=1", "attribute v expected"},
           {"e=invalid-proof\n", "SCRAM: the server refuses: invalid-proof?"}}) {
    auto client = Client::with_password("secret", *from_base64(kClientNonce));
    ASSERT_TRUE(client->final(kServerFirst));
    EXPECT_THAT(client->verify(answer).error().message(), HasSubstr(error));
    // For good.
    EXPECT_FALSE(client->verify(kServerFinal));
  }
  auto client = Client::with_password("secret", *from_base64(kClientNonce));
  EXPECT_FALSE(client->verify(kServerFinal));
}

TEST(ScramClient, RefusesWrongGreetings) {
  const std::string nonce = base64(kNonceA);
  for (const auto& [greeting, error] : std::vector<std::pair<std::string, const char*>>{
           {"r=" + nonce + ",s=c2FsdA==,i=4096", "doesn't go on from the client's"},
           {"r=x" + nonce + "y,s=c2FsdA==,i=4096", "doesn't go on from the client's"},
           {"r=" + nonce + "x,s=c2FsdA==,i=4095", "4095 iterations, at least 4096 are wanted"},
           {"r=" + nonce + "x,s=c2FsdA==,i=1000001", "no number of at most 1000000"},
           {"m=x,r=" + nonce + "x,s=c2FsdA==,i=4096", "an extension that isn't known"}}) {
    auto client = Client::with_password("secret", kNonceA);
    EXPECT_THAT(client->final(greeting).error().message(), HasSubstr(error));
    EXPECT_FALSE(client->final("r=" + nonce + "x,s=c2FsdA==,i=4096"));
  }
  auto weak = Client::with_password("secret", kNonceA, {.min_iterations = 1});
  EXPECT_TRUE(weak->final("r=" + nonce + "x,s=c2FsdA==,i=1,x=more"));
}

TEST(ScramServer, RefusesWrongMessages) {
  const auto verifier = verifier_for("secret");
  for (const auto& [message, error] : std::vector<std::pair<const char*, const char*>>{
           {"n,,n=,r=", "no nonce"},
           {"n,,n=,r=a b", "no nonce"},
           {"n,,r=x", "attribute n expected"},
           {"n,,n=a=2cb,r=x", "no user's name"},
           {"n,,m=x,n=,r=x", "an extension that isn't known"},
           {"n,a=root,n=,r=x", "an authorization identity"},
           {"n,", "no header of two commas"},
           {"", "no header of two commas"},
           {"p=tls-unique,,n=,r=x", "a binding flag"},
           {"p=tls-server-end-point,,n=,r=x", "a binding flag"},
           {"z,,n=,r=x", "a binding flag"},
           {"n,,n=,r=x,", "more than there can be"},
           {"n,,n=,r=x,1=a", "no attribute's name"}}) {
    auto server = Server::create(verifier, kNonceB);
    EXPECT_THAT(server->first(kMechanism, message).error().message(), HasSubstr(error)) << message;
    EXPECT_FALSE(server->first(kMechanism, "n,,n=,r=x"));
  }
  EXPECT_FALSE(Server::create(verifier, kNonceB)->first("SCRAM-SHA-1", "n,,n=,r=x"));
  EXPECT_FALSE(Server::create(verifier, kNonceB)->first(kPlusMechanism, "n,,n=,r=x"));
  EXPECT_FALSE(Server::create(verifier, kNonceB)->final("c=biws,r=x,p="));
  EXPECT_FALSE(Server::create(verifier, "short"));
  EXPECT_FALSE(Client::with_password("secret", "short"));
  EXPECT_FALSE(Server::create(verifier, kNonceB)
                   ->first(kMechanism, "n,,n=,r=" + std::string(kMaxMessage, 'x')));
}

TEST(ScramServer, RefusesAProofOfAnythingElse) {
  const auto verifier = verifier_for("secret");
  const std::string nonce = base64(kNonceA) + base64(kNonceB);
  const std::string proof = ",p=" + base64(std::string(32, 'p'));
  for (const auto& [message, error] : std::vector<std::pair<std::string, const char*>>{
           {"c=biws,r=" + nonce + proof, "the password is wrong"},
           {"c=eSws,r=" + nonce + proof, "another channel binding"},
           {"c=biws,r=" + nonce + "x" + proof, "another nonce"},
           {"c=biws,r=" + nonce, "attribute p expected"},
           {"c=biws,r=" + nonce + proof + ",x=1", "more than there can be"},
           {"c=biws,r=" + nonce + ",p=AAAA", "isn't base64 of 32 bytes"},
           {"r=" + nonce + proof, "attribute c expected"}}) {
    auto client = Client::with_password("secret", kNonceA);
    auto server = Server::create(verifier, kNonceB);
    ASSERT_TRUE(server->first(kMechanism, client->first()));
    EXPECT_THAT(server->final(message).error().message(), HasSubstr(error));
    EXPECT_EQ(server->password_is_wrong(), std::string_view(error) == "the password is wrong");
    EXPECT_FALSE(server->final(*client->final("r=" + nonce + ",s=c2FsdA==,i=4096")));
  }
}

TEST(ScramBinding, IsToTheCertificateThatTheServerHas) {
  const auto verifier = verifier_for("secret");
  const auto log_in = [&](ClientOptions options, std::optional<std::string> own) -> Status {
    auto client = Client::with_password("secret", kNonceA, std::move(options));
    auto server = Server::create(verifier, kNonceB, std::move(own));
    const auto greeting = server->first(client->mechanism(), client->first());
    if (!greeting) return fail(greeting.error());
    const auto answer = server->final(*client->final(*greeting));
    if (!answer) return fail(answer.error());
    return client->verify(*answer);
  };
  EXPECT_TRUE(log_in({.end_point = "certificate", .plus_offered = true}, "certificate"));
  EXPECT_THAT(
      log_in({.end_point = "of another", .plus_offered = true}, "certificate").error().message(),
      HasSubstr("another channel binding"));
  // A server without the mechanism, and a client without TLS of its own.
  EXPECT_TRUE(log_in({.end_point = "certificate"}, std::nullopt));
  EXPECT_TRUE(log_in({.plus_offered = true}, "certificate"));
  // Somebody between them took it from the list.
  EXPECT_THAT(log_in({.end_point = "certificate"}, "certificate").error().message(),
              HasSubstr("somebody took SCRAM-SHA-256-PLUS"));
}

}  // namespace
}  // namespace clonesafe::wire::scram
