#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_AUTHENTICATION_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_AUTHENTICATION_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"

namespace clonesafe::wire::postgres {

// What a server asks for, and how it says that it has had enough.
struct Authentication {
  enum class Kind : std::uint32_t {
    kOk = 0,
    kCleartextPassword = 3,
    kMd5Password = 5,
    kSasl = 10,
    kSaslContinue = 11,
    kSaslFinal = 12,
  };
  // Another number is a method that no proxy can answer; authentication_name() is for the error.
  Kind kind = Kind::kOk;
  std::array<char, 4> salt = {};  // kMd5Password
  // kSasl: names, each with a zero byte behind it. kSaslContinue, kSaslFinal: the mechanism's.
  std::string_view data;

  // kSasl. "SCRAM-SHA-256-PLUS" is another mechanism than "SCRAM-SHA-256".
  bool offers(std::string_view mechanism) const;
};

// The body of an Authentication message. The views are into it.
Result<Authentication> parse_authentication(std::string_view body);

// "GSSAPI", or "method 99".
std::string authentication_name(Authentication::Kind kind);

// A server's side.
void append_authentication_ok(std::string& out);
void append_authentication_cleartext(std::string& out);
void append_authentication_md5(std::string& out, std::span<const char, 4> salt);
Status append_authentication_sasl(std::string& out, std::span<const std::string_view> mechanisms);
Status append_authentication_sasl_continue(std::string& out, std::string_view data);
Status append_authentication_sasl_final(std::string& out, std::string_view data);

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_AUTHENTICATION_H_
