// wire/scram: SCRAM-SHA-256 as client and as server (RFC 5802, RFC 7677), and PostgreSQL's md5
// passwords: the messages and the proofs. No I/O and no randomness: nonces and salts are given.
#ifndef CLONESAFE_PROXY_WIRE_SCRAM_SECRET_H_
#define CLONESAFE_PROXY_WIRE_SCRAM_SECRET_H_

#include <openssl/crypto.h>

#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

namespace clonesafe::wire::scram {

inline constexpr std::size_t kKeySize = 32;

// A key or a proof. Wiped when it goes; equal keys are found in a time that says nothing of them.
class Key {
 public:
  Key() = default;
  Key(const Key&) = default;
  Key& operator=(const Key&) = default;
  ~Key() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

  unsigned char* data() { return bytes_.data(); }
  const unsigned char* data() const { return bytes_.data(); }
  static constexpr std::size_t size() { return kKeySize; }
  std::string_view view() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }
  Key& operator^=(const Key& other) {
    for (std::size_t i = 0; i < kKeySize; ++i) bytes_[i] ^= other.bytes_[i];
    return *this;
  }
  bool operator==(const Key& other) const {
    return CRYPTO_memcmp(bytes_.data(), other.bytes_.data(), kKeySize) == 0;
  }

 private:
  std::array<unsigned char, kKeySize> bytes_ = {};
};

// A text that is wiped when it goes. A string may keep a short text in itself, and leaves it behind
// when it moves; this doesn't.
class SecretText {
 public:
  SecretText() = default;
  explicit SecretText(std::string_view text, std::string_view behind = {}) {
    bytes_.reserve(text.size() + behind.size());  // nothing is left behind in a smaller buffer
    bytes_.assign(text.begin(), text.end());
    bytes_.insert(bytes_.end(), behind.begin(), behind.end());
  }
  SecretText(SecretText&&) = default;
  SecretText& operator=(SecretText&& other) noexcept {
    bytes_.swap(other.bytes_);
    return *this;
  }
  ~SecretText() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

  std::string_view view() const { return {bytes_.data(), bytes_.size()}; }

 private:
  std::vector<char> bytes_;
};

}  // namespace clonesafe::wire::scram

#endif  // CLONESAFE_PROXY_WIRE_SCRAM_SECRET_H_
