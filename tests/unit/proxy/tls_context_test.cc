// What both ends agree on, and what they refuse.
#include "proxy/tls/context.h"

#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "proxy/tls/random.h"
#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {
namespace {

class TlsContextTest : public ProxyTest {
 protected:
  // As far as they get with each other.
  static void talk(SSL* client, SSL* server) {
    BIO* near = nullptr;
    BIO* far = nullptr;
    EXPECT_EQ(BIO_new_bio_pair(&near, 0, &far, 0), 1);
    SSL_set_bio(client, near, near);
    SSL_set_bio(server, far, far);
    for (int turn = 0; turn < 4; ++turn) {
      SSL_do_handshake(client);
      SSL_do_handshake(server);
    }
  }
  ServerTlsOptions server_named(const std::string& name) {
    make_certificate(folder_, name);
    return {.certificate = folder_ / (name + ".pem"), .key = folder_ / (name + ".key")};
  }
  static bool agree(const ClientTlsOptions& client, const ServerTlsOptions& server,
                    const std::string& host = {}) {
    const TlsContext client_context = TlsContext::client(client).value();
    const TlsContext server_context = TlsContext::server(server).value();
    const SslPointer one = client_context.session(host).value();
    const SslPointer other = server_context.session().value();
    talk(one.get(), other.get());
    return SSL_is_init_finished(one.get()) == 1 && SSL_is_init_finished(other.get()) == 1;
  }
  // The cipher that a listener and a client with this order agree on.
  std::string chosen(int version, const char* order) {
    const auto context = TlsContext::server(server_named("server.test"));
    EXPECT_TRUE(context);
    const SslPointer server = context->session().value();
    const std::unique_ptr<SSL_CTX, FreeSsl> ours(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_max_proto_version(ours.get(), version);
    EXPECT_EQ(version == TLS1_3_VERSION ? SSL_CTX_set_ciphersuites(ours.get(), order)
                                        : SSL_CTX_set_cipher_list(ours.get(), order),
              1);
    const SslPointer client(SSL_new(ours.get()));
    SSL_set_connect_state(client.get());
    talk(client.get(), server.get());
    EXPECT_TRUE(SSL_is_init_finished(server.get()));
    EXPECT_EQ(SSL_version(server.get()), version);
    return SSL_get_cipher_name(server.get());
  }

  Folder folder_;
};

TEST_F(TlsContextTest, ListenerChoosesTheStrongestCipher) {
  EXPECT_EQ(chosen(TLS1_2_VERSION,
                   "ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:"
                   "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256:"
                   "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384"),
            "ECDHE-ECDSA-AES256-GCM-SHA384");
  EXPECT_EQ(chosen(TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"),
            "TLS_AES_256_GCM_SHA384");
}

TEST_F(TlsContextTest, ClientWithoutAesInHardwareGetsChaCha) {
  EXPECT_EQ(chosen(TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384"),
            "ECDHE-ECDSA-CHACHA20-POLY1305");
  EXPECT_EQ(chosen(TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"),
            "TLS_CHACHA20_POLY1305_SHA256");
}

TEST_F(TlsContextTest, CertificateHasToBearTheUpstreamsNameOrAddress) {
  const struct {
    std::string bears, server_name, host;
    bool agree;
  } cases[] = {
      {"server.test", "server.test", "10.9.0.1", true},
      {"server.test", "", "server.test", true},
      {"server.test", "other.test", "server.test", false},
      {"server.test", "", "other.test", false},
      {"server.test", "", "10.9.0.1", false},
      {"*.server.test", "a.server.test", "", true},
      {"a*.server.test", "ab.server.test", "", false},
  };
  for (const auto& [bears, server_name, host, expected] : cases) {
    const ServerTlsOptions server = server_named(bears);
    const ClientTlsOptions client{.ca_file = server.certificate, .server_name = server_name};
    EXPECT_EQ(agree(client, server, host), expected)
        << bears << ", " << server_name << ", " << host;
  }
}

TEST_F(TlsContextTest, ApplicationsNeedTheirCertificatesWhereThatIsSaid) {
  ServerTlsOptions server = server_named("server.test");
  const ServerTlsOptions known = server_named("known.test"), other = server_named("other.test");
  server.client_ca_file = known.certificate;
  ClientTlsOptions client{.ca_file = server.certificate, .server_name = "server.test"};
  EXPECT_FALSE(agree(client, server)) << "it has none";
  client.certificate = other.certificate;
  client.key = other.key;
  EXPECT_FALSE(agree(client, server)) << "nobody knows who made it";
  client.certificate = known.certificate;
  client.key = known.key;
  EXPECT_TRUE(agree(client, server));
}

TEST_F(TlsContextTest, ApplicationThatMeansAnotherProtocolIsRefused) {
  ServerTlsOptions server = server_named("server.test");
  server.alpn = {"postgresql", "x"};
  ClientTlsOptions client{.ca_file = server.certificate, .server_name = "server.test"};
  EXPECT_TRUE(agree(client, server)) << "it doesn't say";
  client.alpn = {"h2", "postgresql"};
  EXPECT_TRUE(agree(client, server));
  client.alpn = {"h2"};
  EXPECT_FALSE(agree(client, server));
}

TEST(TlsRandom, IsNotOpenSslsOwn) {
  ASSERT_TRUE(use_clone_safe_random());
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  EXPECT_NE(RAND_get_rand_method()->bytes, RAND_OpenSSL()->bytes);
#pragma GCC diagnostic pop
}

}  // namespace
}  // namespace clonesafe::proxy
