#ifndef CLONESAFE_PROXY_WIRE_SCRAM_PASSWORD_H_
#define CLONESAFE_PROXY_WIRE_SCRAM_PASSWORD_H_

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/scram/secret.h"

namespace clonesafe::wire::scram {

inline constexpr std::size_t kMaxPassword = 4096;  // bytes

// The password as SCRAM takes it, which is what PostgreSQL does with one: SASLprep (RFC 4013), and
// for what isn't UTF-8, or has characters that SASLprep forbids, the bytes as they are. Wiped, but
// for copies that libidn makes of passwords beyond ASCII. Thread-safe.
Result<SecretText> prepare_password(std::string_view password);

// "md5" and 32 digits: what a server keeps of the password of `user`. The same as the password to
// who wants to log in by md5. Thread-safe.
Result<SecretText> md5_verifier(std::string_view password, std::string_view user);
// What a client answers to AuthenticationMD5Password.
Result<std::string> md5_response(std::string_view verifier, std::span<const char, 4> salt);
// A wrong answer is an error too.
Status check_md5_response(std::string_view response, std::string_view verifier,
                          std::span<const char, 4> salt);

}  // namespace clonesafe::wire::scram

#endif  // CLONESAFE_PROXY_WIRE_SCRAM_PASSWORD_H_
