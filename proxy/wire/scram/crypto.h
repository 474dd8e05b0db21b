#ifndef CLONESAFE_PROXY_WIRE_SCRAM_CRYPTO_H_
#define CLONESAFE_PROXY_WIRE_SCRAM_CRYPTO_H_

#include <cstdint>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/scram/secret.h"

namespace clonesafe::wire::scram {

// H() and HMAC() of RFC 5802, and Hi() as PBKDF2, by libcrypto. Thread-safe.
Result<Key> sha256(std::string_view bytes);
Result<Key> hmac_sha256(std::string_view key, std::string_view text);
Result<Key> pbkdf2_sha256(std::string_view password, std::string_view salt,
                          std::uint32_t iterations);

}  // namespace clonesafe::wire::scram

#endif  // CLONESAFE_PROXY_WIRE_SCRAM_CRYPTO_H_
