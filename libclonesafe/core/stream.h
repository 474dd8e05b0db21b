#ifndef CLONESAFE_CORE_STREAM_H_
#define CLONESAFE_CORE_STREAM_H_

#include <cstddef>
#include <cstdint>

// libcrypto's types, so that its headers stay out of this one.
using EVP_CIPHER = struct evp_cipher_st;
using EVP_CIPHER_CTX = struct evp_cipher_ctx_st;
using EVP_MAC = struct evp_mac_st;
using EVP_MAC_CTX = struct evp_mac_ctx_st;

namespace clonesafe::core {

inline constexpr std::size_t kKeySize = 32;

// The primitives as libcrypto gives them, fetched once for the process. They come from a library
// context of our own: the program's openssl.cnf, which may name another provider or none, doesn't
// reach it, and no lock of libcrypto is taken afterwards, which a forked child could find held.
struct Primitives {
  EVP_CIPHER* chacha20 = nullptr;
  EVP_MAC_CTX* hmac_sha256 = nullptr;  // a template, its digest set; never used itself

  bool fetch();
};

// A thread's instances of the primitives. They live outside the secret page, so no key is left in
// them: each function puts zeros in the key's place before it returns.
class StreamContext {
 public:
  bool create(const Primitives& primitives);
  void destroy();
  bool ready() const { return cipher_ != nullptr; }

  // Replaces `key` by the first 32 bytes of its key stream and writes what follows to `output`, so
  // that `key` can't tell any more what it gave out (fast key erasure).
  bool generate(std::uint8_t (&key)[kKeySize], std::uint8_t* output, std::size_t length);

  // key = HKDF-SHA256(salt = key, ikm = material, info) (RFC 5869), 32 bytes.
  bool derive(std::uint8_t (&key)[kKeySize], const std::uint8_t* material,
              std::size_t material_length, const std::uint8_t* info, std::size_t info_length);

 private:
  bool hmac(const std::uint8_t (&key)[kKeySize], const std::uint8_t* data, std::size_t length,
            const std::uint8_t* more, std::size_t more_length, std::uint8_t (&result)[kKeySize]);

  EVP_CIPHER_CTX* cipher_ = nullptr;
  EVP_MAC_CTX* mac_ = nullptr;
};

// Overwrites with zeros; the compiler can't leave it out.
void wipe(void* memory, std::size_t length);

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_STREAM_H_
