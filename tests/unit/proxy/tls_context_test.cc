// What a listener agrees on with clients that would have it otherwise.
#include "proxy/tls/context.h"

#include <openssl/ssl.h>

#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {
namespace {

// The cipher that a listener and a client with this order agree on.
class TlsContextTest : public ProxyTest {
 protected:
  std::string chosen(int version, const char* order) {
    make_certificate(folder_, "server.test");
    const auto context = TlsContext::server(
        {.certificate = folder_ / "server.test.pem", .key = folder_ / "server.test.key"});
    EXPECT_TRUE(context);
    const SslPointer server = context->session().value();
    const std::unique_ptr<SSL_CTX, FreeSsl> ours(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_max_proto_version(ours.get(), version);
    EXPECT_EQ(version == TLS1_3_VERSION ? SSL_CTX_set_ciphersuites(ours.get(), order)
                                        : SSL_CTX_set_cipher_list(ours.get(), order),
              1);
    const SslPointer client(SSL_new(ours.get()));
    BIO* near = nullptr;
    BIO* far = nullptr;
    EXPECT_EQ(BIO_new_bio_pair(&near, 0, &far, 0), 1);
    SSL_set_bio(client.get(), near, near);
    SSL_set_bio(server.get(), far, far);
    SSL_set_connect_state(client.get());
    for (int turn = 0; turn < 4; ++turn) {
      SSL_do_handshake(client.get());
      SSL_do_handshake(server.get());
    }
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

}  // namespace
}  // namespace clonesafe::proxy
