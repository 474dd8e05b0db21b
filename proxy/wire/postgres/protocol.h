// wire/postgres: PostgreSQL's protocol 3 between client and server: where messages begin and end,
// what those say that a proxy has to understand, the messages that it writes itself, and the SQL
// that changes a session. No I/O, and no state of a session.
#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_PROTOCOL_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_PROTOCOL_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace clonesafe::wire::postgres {

// PostgreSQL 15 documentation, 55.7 "Message Formats"; protocol 3.2 as of PostgreSQL 18.

// A length counts itself, but not the type in front of it.
inline constexpr std::uint32_t kLengthSize = 4;
inline constexpr std::uint32_t kHeaderSize = 1 + kLengthSize;
// No server takes or sends longer messages: its MaxAllocSize.
inline constexpr std::uint32_t kMaxLength = 0x3fffffff;
// A server's limit for what comes before the first typed message, its length included.
inline constexpr std::uint32_t kMaxStartupPacket = 10000;

// The first four bytes of a packet without type.
inline constexpr std::uint32_t kVersion30 = 3 << 16;
inline constexpr std::uint32_t kVersion32 = kVersion30 | 2;
inline constexpr std::uint32_t kCancelRequestCode = 1234 << 16 | 5678;
inline constexpr std::uint32_t kTlsRequestCode = 1234 << 16 | 5679;
inline constexpr std::uint32_t kGssRequestCode = 1234 << 16 | 5680;

// The secret in BackendKeyData and CancelRequest.
inline constexpr std::size_t kKeySize30 = 4;
inline constexpr std::size_t kMaxKeySize = 256;

// What a client sends. The four that answer an authentication request share a letter.
enum class ClientMessage : char {
  kBind = 'B',
  kClose = 'C',
  kCopyData = 'd',
  kCopyDone = 'c',
  kCopyFail = 'f',
  kDescribe = 'D',
  kExecute = 'E',
  kFlush = 'H',
  kFunctionCall = 'F',
  kParse = 'P',
  kPassword = 'p',  // PasswordMessage, SASLInitialResponse, SASLResponse, GSSResponse
  kQuery = 'Q',
  kSync = 'S',
  kTerminate = 'X',
};

// What a server sends.
enum class ServerMessage : char {
  kAuthentication = 'R',
  kBackendKeyData = 'K',
  kBindComplete = '2',
  kCloseComplete = '3',
  kCommandComplete = 'C',
  kCopyBothResponse = 'W',
  kCopyData = 'd',
  kCopyDone = 'c',
  kCopyInResponse = 'G',
  kCopyOutResponse = 'H',
  kDataRow = 'D',
  kEmptyQueryResponse = 'I',
  kErrorResponse = 'E',
  kFunctionCallResponse = 'V',
  kNegotiateProtocolVersion = 'v',
  kNoData = 'n',
  kNoticeResponse = 'N',
  kNotificationResponse = 'A',
  kParameterDescription = 't',
  kParameterStatus = 'S',
  kParseComplete = '1',
  kPortalSuspended = 's',
  kReadyForQuery = 'Z',
  kRowDescription = 'T',
};

// What a transaction is, as ReadyForQuery says.
enum class TransactionStatus : char { kIdle = 'I', kOpen = 'T', kFailed = 'E' };

// The name of a message in the documentation; empty if there is none of this type.
std::string_view name_of(ClientMessage type);
std::string_view name_of(ServerMessage type);

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_PROTOCOL_H_
