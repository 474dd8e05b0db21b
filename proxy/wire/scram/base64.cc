#include "proxy/wire/scram/base64.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

namespace clonesafe::wire::scram {

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // libcrypto writes a zero behind it
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(size));
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string bytes(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size < 0) return std::nullopt;
  // libcrypto takes padding for zeros, and trims white space.
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  bytes.resize(bytes.size() - padding);
  // It may be a key's.
  std::string again = base64(bytes);
  const bool is_canonical = again == text;
  OPENSSL_cleanse(again.data(), again.size());
  if (!is_canonical) return std::nullopt;
  return bytes;
}

}  // namespace clonesafe::wire::scram
