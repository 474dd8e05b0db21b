#include "proxy/wire/scram/crypto.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace clonesafe::wire::scram {
namespace {

const unsigned char* unsigned_bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

Result<Key> sha256(std::string_view bytes) {
  Key digest;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1)
    return fail("libcrypto: SHA-256 failed");
  return digest;
}

Result<Key> hmac_sha256(std::string_view key, std::string_view text) {
  Key mac;
  unsigned size = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), unsigned_bytes(text),
           text.size(), mac.data(), &size) == nullptr ||
      size != Key::size())
    return fail("libcrypto: HMAC-SHA256 failed");
  return mac;
}

Result<Key> pbkdf2_sha256(std::string_view password, std::string_view salt,
                          std::uint32_t iterations) {
  Key derived;
  if (PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), unsigned_bytes(salt),
                        static_cast<int>(salt.size()), static_cast<int>(iterations), EVP_sha256(),
                        static_cast<int>(Key::size()), derived.data()) != 1)
    return fail("libcrypto: PBKDF2 with SHA-256 failed");
  return derived;
}

}  // namespace clonesafe::wire::scram
