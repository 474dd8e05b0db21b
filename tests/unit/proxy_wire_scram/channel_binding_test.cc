#include "proxy/wire/scram/channel_binding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>

namespace clonesafe::wire::scram {
namespace {

using testing::HasSubstr;

// A certificate that signs itself, as DER.
std::string certificate(EVP_PKEY* made, const EVP_MD* hash) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(made, &EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> x509(X509_new(), &X509_free);
  X509_gmtime_adj(X509_getm_notBefore(x509.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(x509.get()), 3600);
  X509_set_pubkey(x509.get(), key.get());
  EXPECT_GT(X509_sign(x509.get(), key.get(), hash), 0);
  unsigned char* bytes = nullptr;
  const int size = i2d_X509(x509.get(), &bytes);
  std::string der(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return der;
}

std::string digest(std::string_view bytes, const EVP_MD* hash) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(bytes.data(), bytes.size(), out, &size, hash, nullptr);
  return {reinterpret_cast<const char*>(out), size};
}

TEST(ChannelBinding, HashesTheCertificateAsItsSignatureDoes) {
  for (const auto* hash : {EVP_sha256(), EVP_sha384(), EVP_sha512()}) {
    const auto der = certificate(EVP_EC_gen("P-256"), hash);
    EXPECT_EQ(*tls_server_end_point(der), digest(der, hash));
  }
  const auto old = certificate(EVP_EC_gen("P-256"), EVP_sha1());
  EXPECT_EQ(*tls_server_end_point(old), digest(old, EVP_sha256()));
}

TEST(ChannelBinding, RefusesWhatHasNoHash) {
  const auto der = certificate(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), nullptr);
  EXPECT_THAT(tls_server_end_point(der).error().message(), HasSubstr("its signature has no hash"));
  const auto good = certificate(EVP_EC_gen("P-256"), EVP_sha256());
  EXPECT_THAT(tls_server_end_point(good + "x").error().message(), HasSubstr("no DER"));
  EXPECT_FALSE(tls_server_end_point(good.substr(0, good.size() - 1)));
  EXPECT_FALSE(tls_server_end_point(""));
}

}  // namespace
}  // namespace clonesafe::wire::scram
