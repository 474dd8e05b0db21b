#include "libclonesafe/core/stream.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstring>

#include "libclonesafe/core/seams.h"

namespace clonesafe::core {
namespace {

constexpr std::uint8_t kZeroKey[kKeySize] = {};
// libcrypto's ChaCha20 takes a 32-bit block counter and a 96-bit nonce as one 16-byte IV. Both
// start at zero, because each key is used once.
constexpr std::uint8_t kZeroIv[16] = {};
// What one key gives at most. Well below the 256 GiB at which the counter would wrap, and an int.
constexpr std::size_t kBytesPerKey = std::size_t{1} << 20;
// SP 800-90A, table 3.
constexpr std::size_t kBytesPerRequest = std::size_t{1} << 16;
constexpr unsigned kStrength = 256;

bool instantiate(EVP_RAND_CTX* source) {
#ifdef CLONESAFE_TESTING
  if (seams_for_testing.drbg_entropy != nullptr) {
    unsigned strength = kStrength;
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_uint(OSSL_RAND_PARAM_STRENGTH, &strength),
        OSSL_PARAM_construct_octet_string(OSSL_RAND_PARAM_TEST_ENTROPY,
                                          const_cast<std::uint8_t*>(seams_for_testing.drbg_entropy),
                                          seams_for_testing.drbg_entropy_size),
        OSSL_PARAM_construct_octet_string(OSSL_RAND_PARAM_TEST_NONCE,
                                          const_cast<std::uint8_t*>(seams_for_testing.drbg_nonce),
                                          16),
        OSSL_PARAM_construct_end()};
    return ::EVP_RAND_CTX_set_params(source, parameters) == 1 &&
           ::EVP_RAND_instantiate(source, kStrength, 0, nullptr, 0, nullptr) == 1;
  }
#endif
  return ::EVP_RAND_instantiate(source, 0, 0, nullptr, 0, nullptr) == 1;
}

// An instance over AES-256 that takes its entropy from the kernel; not instantiated yet.
EVP_RAND_CTX* make_drbg(const Primitives& primitives) {
  EVP_RAND_CTX* const source = ::EVP_RAND_CTX_new(primitives.kernel_source, nullptr);
  EVP_RAND_CTX* const drbg =
      source == nullptr ? nullptr : ::EVP_RAND_CTX_new(primitives.ctr_drbg, source);
  const bool ready = drbg != nullptr && instantiate(source);
  ::EVP_RAND_CTX_free(source);  // the instance holds it
  char cipher[] = "AES-256-CTR";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_DRBG_PARAM_CIPHER, cipher, 0),
      OSSL_PARAM_construct_end()};
  if (ready && ::EVP_RAND_CTX_set_params(drbg, parameters) == 1) return drbg;
  ::EVP_RAND_CTX_free(drbg);
  return nullptr;
}

}  // namespace

bool Primitives::fetch() {
  OSSL_LIB_CTX* context = ::OSSL_LIB_CTX_new();
  if (context == nullptr) return false;
  chacha20 = ::EVP_CIPHER_fetch(context, "ChaCha20", nullptr);
  EVP_MAC* hmac = ::EVP_MAC_fetch(context, "HMAC", nullptr);
  EVP_MAC_CTX* mac = hmac == nullptr ? nullptr : ::EVP_MAC_CTX_new(hmac);
  ::EVP_MAC_free(hmac);  // the context holds it
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end()};
  if (chacha20 == nullptr || mac == nullptr ||
      ::EVP_MAC_init(mac, kZeroKey, kKeySize, parameters) != 1) {
    ::EVP_MAC_CTX_free(mac);
    ::EVP_CIPHER_free(chacha20);
    ::OSSL_LIB_CTX_free(context);
    chacha20 = nullptr;
    return false;
  }
  hmac_sha256 = mac;
  ctr_drbg = ::EVP_RAND_fetch(context, "CTR-DRBG", nullptr);
  kernel_source = ::EVP_RAND_fetch(context, "SEED-SRC", nullptr);
  return true;
}

bool StreamContext::create(const Primitives& primitives, Core core) {
  cipher_ = ::EVP_CIPHER_CTX_new();
  mac_ = ::EVP_MAC_CTX_dup(primitives.hmac_sha256);
  if (cipher_ != nullptr && mac_ != nullptr &&
      ::EVP_EncryptInit_ex(cipher_, primitives.chacha20, nullptr, kZeroKey, kZeroIv) == 1) {
    if (core == Core::kChaCha20) return true;
    drbg_ = make_drbg(primitives);
    if (drbg_ != nullptr) return true;
  }
  destroy();
  return false;
}

void StreamContext::destroy() {
  ::EVP_CIPHER_CTX_free(cipher_);
  ::EVP_MAC_CTX_free(mac_);
  ::EVP_RAND_CTX_free(drbg_);
  cipher_ = nullptr;
  mac_ = nullptr;
  drbg_ = nullptr;
}

bool StreamContext::generate_by_drbg(std::uint8_t* output, std::size_t length) {
  while (length > 0) {
    const std::size_t part = std::min(length, kBytesPerRequest);
    if (::EVP_RAND_generate(drbg_, output, part, kStrength, 0, nullptr, 0) != 1) return false;
    output += part;
    length -= part;
  }
  return true;
}

bool StreamContext::reseed_drbg(const std::uint8_t (&key)[kKeySize]) {
  if (::EVP_RAND_get_state(drbg_) != EVP_RAND_STATE_READY) {
    (void)::EVP_RAND_uninstantiate(drbg_);
    return ::EVP_RAND_instantiate(drbg_, kStrength, 0, key, kKeySize, nullptr) == 1;
  }
  return ::EVP_RAND_reseed(drbg_, 0, nullptr, 0, key, kKeySize) == 1;
}

void StreamContext::forget() {
  if (drbg_ != nullptr) (void)::EVP_RAND_uninstantiate(drbg_);
}

bool StreamContext::generate(std::uint8_t (&key)[kKeySize], std::uint8_t* output,
                             std::size_t length) {
  if (drbg_ != nullptr) return generate_by_drbg(output, length);
  bool good = true;
  while (good && length > 0) {
    const std::size_t part = std::min(length, kBytesPerKey);
    std::uint8_t next_key[kKeySize] = {};
    int written = 0;
    std::memset(output, 0, part);
    good = ::EVP_EncryptInit_ex(cipher_, nullptr, nullptr, key, kZeroIv) == 1 &&
           ::EVP_EncryptUpdate(cipher_, next_key, &written, next_key, kKeySize) == 1 &&
           ::EVP_EncryptUpdate(cipher_, output, &written, output, static_cast<int>(part)) == 1;
    if (good) std::memcpy(key, next_key, kKeySize);
    wipe(next_key, sizeof(next_key));
    output += part;
    length -= part;
  }
  return ::EVP_EncryptInit_ex(cipher_, nullptr, nullptr, kZeroKey, kZeroIv) == 1 && good;
}

bool StreamContext::hmac(const std::uint8_t (&key)[kKeySize], const std::uint8_t* data,
                         std::size_t length, const std::uint8_t* more, std::size_t more_length,
                         std::uint8_t (&result)[kKeySize]) {
  std::size_t written = 0;
  return ::EVP_MAC_init(mac_, key, kKeySize, nullptr) == 1 &&
         ::EVP_MAC_update(mac_, data, length) == 1 &&
         ::EVP_MAC_update(mac_, more, more_length) == 1 &&
         ::EVP_MAC_final(mac_, result, &written, kKeySize) == 1 && written == kKeySize;
}

bool StreamContext::derive(std::uint8_t (&key)[kKeySize], const std::uint8_t* material,
                           std::size_t material_length, const std::uint8_t* info,
                           std::size_t info_length) {
  // RFC 5869 2.2 and 2.3 for one block of output: T(1) = HMAC(PRK, info | 0x01).
  constexpr std::uint8_t kBlockOne = 1;
  std::uint8_t extracted[kKeySize] = {};
  std::uint8_t expanded[kKeySize] = {};
  const bool good = hmac(key, material, material_length, nullptr, 0, extracted) &&
                    hmac(extracted, info, info_length, &kBlockOne, sizeof(kBlockOne), expanded);
  if (good) std::memcpy(key, expanded, kKeySize);
  const bool reseeded = drbg_ == nullptr || (good && reseed_drbg(key));
  wipe(extracted, sizeof(extracted));
  wipe(expanded, sizeof(expanded));
  return ::EVP_MAC_init(mac_, kZeroKey, kKeySize, nullptr) == 1 && good && reseeded;
}

void wipe(void* memory, std::size_t length) {
  ::OPENSSL_cleanse(memory, length);
}

}  // namespace clonesafe::core
