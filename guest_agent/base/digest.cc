// libcrypto's SHA-256 itself, not by way of EVP: that would load openssl.cnf, which is the
// programs' and may be broken, and a provider of 2 MiB, for a few bytes that are hashed at each
// restore.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "guest_agent/base/digest.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <array>
#include <cstring>

#include "clonesafe/abi/generation_page.h"

namespace clonesafe::agent {
namespace {

static_assert(sizeof(Bytes32) == SHA256_DIGEST_LENGTH);

class Sha256 {
 public:
  Sha256() { ok_ = SHA256_Init(&context_) == 1; }
  ~Sha256() { OPENSSL_cleanse(&context_, sizeof(context_)); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void add(std::span<const std::uint8_t> bytes) {
    ok_ = ok_ && SHA256_Update(&context_, bytes.data(), bytes.size()) == 1;
  }

  Result<Bytes32> finish() {
    Bytes32 result = {};
    if (!ok_ || SHA256_Final(result.data(), &context_) != 1) {
      return fail("SHA-256 failed in libcrypto");
    }
    return result;
  }

 private:
  SHA256_CTX context_ = {};
  bool ok_ = false;
};

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

void add_with_length(Sha256& hash, std::span<const std::uint8_t> part) {
  const std::uint64_t size = part.size();
  hash.add({reinterpret_cast<const std::uint8_t*>(&size), sizeof(size)});
  hash.add(part);
}

// RFC 2104, for a key that is shorter than a block.
Result<Bytes32> hmac(std::span<const std::uint8_t, 32> key, std::span<const std::uint8_t> data) {
  using Block = std::array<std::uint8_t, SHA256_CBLOCK>;
  Block inner_pad;
  Block outer_pad;
  inner_pad.fill(0x36);
  outer_pad.fill(0x5c);
  for (std::size_t i = 0; i < key.size(); ++i) {
    inner_pad[i] ^= key[i];
    outer_pad[i] ^= key[i];
  }
  Sha256 inner;
  inner.add(inner_pad);
  inner.add(data);
  Sha256 outer;
  outer.add(outer_pad);
  wipe(inner_pad);
  wipe(outer_pad);
  auto inner_digest = inner.finish();
  if (!inner_digest) return inner_digest;
  outer.add(*inner_digest);
  return outer.finish();
}

}  // namespace

Result<Bytes32> digest(std::string_view label,
                       std::initializer_list<std::span<const std::uint8_t>> parts) {
  Sha256 hash;
  add_with_length(hash, bytes_of(label));
  for (const auto part : parts) add_with_length(hash, part);
  return hash.finish();
}

Result<Bytes32> diversifier_from_seed(std::span<const std::uint8_t, 32> seed) {
  return hmac(seed, bytes_of(CLONESAFE_DIVERSIFIER_LABEL));
}

void wipe(std::span<std::uint8_t> bytes) {
  OPENSSL_cleanse(bytes.data(), bytes.size());
}

}  // namespace clonesafe::agent
