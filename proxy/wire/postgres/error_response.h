#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_ERROR_RESPONSE_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_ERROR_RESPONSE_H_

#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/postgres/protocol.h"

namespace clonesafe::wire::postgres {

// What ErrorResponse and NoticeResponse say. Views into the body; a field that isn't there is "".
struct ErrorFields {
  std::string_view severity;  // ERROR, FATAL, PANIC; WARNING, NOTICE, ...: never translated
  std::string_view sqlstate;  // 5 digits and capital letters
  std::string_view message;
  std::string_view detail;
  std::string_view hint;
};

// `body` is a whole body, or a head of it if `whole` is false: what is behind the head's end is
// then left out. Severity and SQLSTATE come first, and have to be there.
Result<ErrorFields> parse_error_fields(std::string_view body, bool whole = true);

// SQLSTATEs that a proxy tells its clients (appendix A of the documentation).
namespace sqlstate {
inline constexpr std::string_view kConnectionFailure = "08006";
inline constexpr std::string_view kTransactionResolutionUnknown = "08007";
inline constexpr std::string_view kProtocolViolation = "08P01";
inline constexpr std::string_view kFeatureNotSupported = "0A000";
inline constexpr std::string_view kInFailedTransaction = "25P02";
inline constexpr std::string_view kInvalidAuthorization = "28000";
inline constexpr std::string_view kInvalidPassword = "28P01";
inline constexpr std::string_view kSerializationFailure = "40001";
inline constexpr std::string_view kStatementCompletionUnknown = "40003";
inline constexpr std::string_view kTooManyConnections = "53300";
inline constexpr std::string_view kAdminShutdown = "57P01";
inline constexpr std::string_view kCannotConnectNow = "57P03";
inline constexpr std::string_view kSystemError = "58000";
}  // namespace sqlstate

// The severity's field is written twice, as clients of before 9.6 know only the first.
Status append_error(std::string& out, const ErrorFields& fields);
Status append_notice(std::string& out, const ErrorFields& fields);

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_ERROR_RESPONSE_H_
