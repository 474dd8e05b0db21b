#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_SERVER_MESSAGES_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_SERVER_MESSAGES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "proxy/wire/postgres/protocol.h"
#include "proxy/wire/postgres/startup.h"

namespace clonesafe::wire::postgres {

// What servers send, as views of a message's whole body, and how to write it. An append_...() adds
// a message to `out`, or nothing if a text in it can't be sent (a zero byte in it). Free of state
// and thread-safe. Authentication, errors and rows have headers of their own.

Result<Parameter> parse_parameter_status(std::string_view body);
Status append_parameter_status(std::string& out, const Parameter& parameter);

struct BackendKeyData {
  std::uint32_t process = 0;
  std::string_view key;  // a secret: who has it can cancel the session's queries
};
// Protocol 3.0 has keys of 4 bytes, 3.2 of 4 to 256.
Result<BackendKeyData> parse_backend_key_data(std::string_view body, std::uint32_t version);
Status append_backend_key_data(std::string& out, const BackendKeyData& data);

Result<TransactionStatus> parse_ready_for_query(std::string_view body);
void append_ready_for_query(std::string& out, TransactionStatus status);

// "INSERT 0 5"
Result<std::string_view> parse_command_complete(std::string_view body);
// The command of a tag: all words before its numbers ("INSERT", "CREATE TABLE").
std::string_view command_of(std::string_view tag);
Status append_command_complete(std::string& out, std::string_view tag);

struct Notification {
  std::uint32_t process = 0;
  std::string_view channel;
  std::string_view payload;
};
Result<Notification> parse_notification(std::string_view body);
Status append_notification(std::string& out, const Notification& notification);

// CopyInResponse, CopyOutResponse, CopyBothResponse.
struct CopyResponse {
  bool binary = false;
  std::uint16_t columns = 0;
};
Result<CopyResponse> parse_copy_response(std::string_view body);

struct NegotiateProtocolVersion {
  // The newest version that the server has, of the major version asked for. The documentation has
  // its minor number here, servers send all of it.
  std::uint32_t version = kVersion30;
  std::vector<std::string_view> unknown_options;
};
// `max_options` is the number of those that were asked for: a server can't refuse more.
Result<NegotiateProtocolVersion> parse_negotiate_protocol_version(std::string_view body,
                                                                  std::size_t max_options);
Status append_negotiate_protocol_version(std::string& out,
                                         const NegotiateProtocolVersion& negotiation);

// A message that has no body.
void append_empty(std::string& out, ServerMessage type);

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_SERVER_MESSAGES_H_
