#ifndef CLONESAFE_CORE_STREAM_H_
#define CLONESAFE_CORE_STREAM_H_

#include <cstddef>
#include <cstdint>

// libcrypto's types, so that its headers stay out of this one.
using EVP_CIPHER = struct evp_cipher_st;
using EVP_CIPHER_CTX = struct evp_cipher_ctx_st;
using EVP_MAC = struct evp_mac_st;
using EVP_MAC_CTX = struct evp_mac_ctx_st;
using EVP_RAND = struct evp_rand_st;
using EVP_RAND_CTX = struct evp_rand_ctx_st;

namespace clonesafe::core {

inline constexpr std::size_t kKeySize = 32;

// The primitives as libcrypto gives them, fetched once for the process. They come from a library
// context of our own: the program's openssl.cnf, which may name another provider or none, doesn't
// reach it, and no lock of libcrypto is taken afterwards, which a forked child could find held.
struct Primitives {
  EVP_CIPHER* chacha20 = nullptr;
  EVP_MAC_CTX* hmac_sha256 = nullptr;  // a template, its digest set; never used itself

  // CTR_DRBG of SP 800-90A, and the kernel's generator, from which it takes entropy; null where
  // libcrypto hasn't them.
  EVP_RAND* ctr_drbg = nullptr;
  EVP_RAND* kernel_source = nullptr;

  bool fetch();
  bool has_ctr_drbg() const { return ctr_drbg != nullptr && kernel_source != nullptr; }
};

// What makes the bytes out of a key.
enum class Core : std::uint8_t { kChaCha20, kCtrDrbg };

// A thread's instances of the primitives. They live outside the secret page, so no key is left in
// them: each function puts zeros in the key's place before it returns.
class StreamContext {
 public:
  bool create(const Primitives& primitives, Core core);
  void destroy();
  bool ready() const { return cipher_ != nullptr; }

  // Replaces `key` by the first 32 bytes of its key stream and writes what follows to `output`, so
  // that `key` can't tell any more what it gave out (fast key erasure). With CTR_DRBG the state
  // that gives out and is replaced is libcrypto's own, and `key` serves only to derive the next.
  bool generate(std::uint8_t (&key)[kKeySize], std::uint8_t* output, std::size_t length);

  // key = HKDF-SHA256(salt = key, ikm = material, info) (RFC 5869), 32 bytes. With CTR_DRBG its
  // instance is reseeded from the kernel too, with that key as the additional input.
  bool derive(std::uint8_t (&key)[kKeySize], const std::uint8_t* material,
              std::size_t material_length, const std::uint8_t* info, std::size_t info_length);

  // Drops the state of CTR_DRBG's instance, which the next derive makes anew.
  void forget();

#ifdef CLONESAFE_TESTING
  bool reseed_drbg_for_testing(const std::uint8_t (&key)[kKeySize]) { return reseed_drbg(key); }
#endif

 private:
  bool generate_by_drbg(std::uint8_t* output, std::size_t length);
  bool reseed_drbg(const std::uint8_t (&key)[kKeySize]);
  bool hmac(const std::uint8_t (&key)[kKeySize], const std::uint8_t* data, std::size_t length,
            const std::uint8_t* more, std::size_t more_length, std::uint8_t (&result)[kKeySize]);

  EVP_CIPHER_CTX* cipher_ = nullptr;
  EVP_MAC_CTX* mac_ = nullptr;
  EVP_RAND_CTX* drbg_ = nullptr;  // with CTR_DRBG
};

// Overwrites with zeros; the compiler can't leave it out.
void wipe(void* memory, std::size_t length);

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_STREAM_H_
