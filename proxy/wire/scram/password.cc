#include "proxy/wire/scram/password.h"

#include <openssl/evp.h>
#include <stringprep.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>

namespace clonesafe::wire::scram {
namespace {

constexpr std::string_view kZero("\0", 1);
constexpr std::string_view kMd5 = "md5";
constexpr std::size_t kMd5Size = 16;
constexpr std::size_t kMd5VerifierSize = 3 + 2 * kMd5Size;

// The two kinds of password that libcrypto's MD5 hashes, as PostgreSQL writes them.
Result<SecretText> md5_text(std::initializer_list<std::string_view> parts) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  std::array<unsigned char, kMd5Size> digest;
  bool good = context && EVP_DigestInit_ex(context.get(), EVP_md5(), nullptr) == 1;
  for (const auto part : parts)
    good = good && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
  good = good && EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1;
  // Not there in FIPS mode.
  if (!good) return fail("libcrypto: MD5 failed");
  std::array<char, kMd5VerifierSize> text;
  std::ranges::copy(kMd5, text.begin());
  for (std::size_t i = 0; i < digest.size(); ++i) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    text[kMd5.size() + 2 * i] = kDigits[digest[i] >> 4];
    text[kMd5.size() + 2 * i + 1] = kDigits[digest[i] & 0xf];
  }
  SecretText result(std::string_view(text.data(), text.size()));
  OPENSSL_cleanse(text.data(), text.size());
  OPENSSL_cleanse(digest.data(), digest.size());
  return result;
}

}  // namespace

Result<SecretText> prepare_password(std::string_view password) {
  if (password.empty()) return fail("password: it is empty");
  if (password.size() > kMaxPassword)
    return fail("password: " + std::to_string(password.size()) + " bytes, the limit is " +
                std::to_string(kMaxPassword));
  if (password.find('\0') != std::string_view::npos) return fail("password: a zero byte in it");
  SecretText raw(password);
  // PostgreSQL forbids nothing in ASCII, control characters included.
  if (std::ranges::all_of(password, [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
    return raw;
  const SecretText terminated(password, kZero);
  char* prepared = nullptr;
  const int outcome =
      stringprep_profile(terminated.view().data(), &prepared, "SASLprep", STRINGPREP_NO_UNASSIGNED);
  if (outcome == STRINGPREP_MALLOC_ERROR) return fail("libidn: SASLprep is out of memory");
  if (outcome != STRINGPREP_OK) return raw;
  SecretText result{std::string_view(prepared)};
  OPENSSL_cleanse(prepared, std::strlen(prepared));
  std::free(prepared);
  if (result.view().empty()) return raw;
  return result;
}

Result<SecretText> md5_verifier(std::string_view password, std::string_view user) {
  return md5_text({password, user});
}

Result<std::string> md5_response(std::string_view verifier, std::span<const char, 4> salt) {
  if (verifier.size() != kMd5VerifierSize || !verifier.starts_with(kMd5))
    return fail("md5 password: not \"md5\" and 32 digits");
  auto text = md5_text({verifier.substr(kMd5.size()), {salt.data(), salt.size()}});
  if (!text) return fail(std::move(text).error());
  return std::string(text->view());
}

Status check_md5_response(std::string_view response, std::string_view verifier,
                          std::span<const char, 4> salt) {
  const auto expected = md5_response(verifier, salt);
  if (!expected) return fail(expected.error());
  if (response.size() != expected->size() ||
      CRYPTO_memcmp(response.data(), expected->data(), expected->size()) != 0)
    return fail("md5 password: it is wrong");
  return {};
}

}  // namespace clonesafe::wire::scram
