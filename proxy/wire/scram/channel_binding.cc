#include "proxy/wire/scram/channel_binding.h"

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509.h>

#include <array>
#include <memory>

namespace clonesafe::wire::scram {

Result<std::string> tls_server_end_point(std::string_view certificate) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(certificate.data());
  const std::unique_ptr<X509, decltype(&X509_free)> parsed(
      d2i_X509(nullptr, &bytes, static_cast<long>(certificate.size())), &X509_free);
  if (!parsed ||
      bytes != reinterpret_cast<const unsigned char*>(certificate.data()) + certificate.size())
    return fail("TLS certificate: no DER of one");
  int digest = NID_undef;
  if (X509_get_signature_info(parsed.get(), &digest, nullptr, nullptr, nullptr) != 1 ||
      digest == NID_undef)
    return fail("TLS certificate: its signature has no hash, so nothing can be bound to it");
  if (digest == NID_md5 || digest == NID_sha1) digest = NID_sha256;
  const EVP_MD* algorithm = EVP_get_digestbynid(digest);
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash;
  unsigned size = 0;
  if (algorithm == nullptr || EVP_Digest(certificate.data(), certificate.size(), hash.data(), &size,
                                         algorithm, nullptr) != 1)
    return fail("libcrypto: digest of a TLS certificate failed");
  return std::string(reinterpret_cast<const char*>(hash.data()), size);
}

}  // namespace clonesafe::wire::scram
