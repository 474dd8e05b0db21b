#include "guest_agent/base/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstring>
#include <memory>

#include "clonesafe/abi/generation_page.h"

namespace clonesafe::agent {
namespace {

using Context = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

bool add(EVP_MD_CTX* context, std::span<const std::uint8_t> part) {
  std::uint8_t length[8];
  const std::uint64_t size = part.size();
  std::memcpy(length, &size, sizeof(length));
  return EVP_DigestUpdate(context, length, sizeof(length)) == 1 &&
         EVP_DigestUpdate(context, part.data(), part.size()) == 1;
}

}  // namespace

Result<Bytes32> digest(std::string_view label,
                       std::initializer_list<std::span<const std::uint8_t>> parts) {
  const Context context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  bool done =
      context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1 &&
      add(context.get(), {reinterpret_cast<const std::uint8_t*>(label.data()), label.size()});
  for (const auto part : parts) done = done && add(context.get(), part);
  Bytes32 result = {};
  if (!done || EVP_DigestFinal_ex(context.get(), result.data(), nullptr) != 1) {
    return fail("SHA-256 failed in libcrypto");
  }
  return result;
}

Result<Bytes32> diversifier_from_seed(std::span<const std::uint8_t, 32> seed) {
  constexpr std::string_view kLabel = CLONESAFE_DIVERSIFIER_LABEL;
  Bytes32 result = {};
  unsigned size = 0;
  if (HMAC(EVP_sha256(), seed.data(), static_cast<int>(seed.size()),
           reinterpret_cast<const unsigned char*>(kLabel.data()), kLabel.size(), result.data(),
           &size) == nullptr ||
      size != result.size()) {
    return fail("HMAC-SHA256 failed in libcrypto");
  }
  return result;
}

void wipe(std::span<std::uint8_t> bytes) {
  OPENSSL_cleanse(bytes.data(), bytes.size());
}

}  // namespace clonesafe::agent
