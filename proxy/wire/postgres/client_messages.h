#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_CLIENT_MESSAGES_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_CLIENT_MESSAGES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/postgres/protocol.h"

namespace clonesafe::wire::postgres {

// What clients send, as views of a message's body, and how to write it. A parser takes the whole
// body, unless it says that a head is enough. An append_...() adds a message to `out`, or nothing
// if a text in it can't be sent (a zero byte in it). All are free of state and thread-safe.

// Its text, from the whole body.
Result<std::string_view> parse_query(std::string_view body);

struct Parse {
  std::string_view statement;  // "" for the unnamed one
  std::string_view query;
  std::string_view types;  // OIDs of 4 bytes, big-endian, which the client gave
  std::uint16_t type_count = 0;
};
Result<Parse> parse_parse(std::string_view body);

// The beginning of a Bind. Of a head, `size` bytes are what these names took; formats and values
// come behind them, and aren't read.
struct BindNames {
  std::string_view portal;
  std::string_view statement;
  std::size_t size = 0;
};
Result<BindNames> parse_bind_names(std::string_view head);

// Describe and Close.
struct Target {
  enum class Kind : char { kStatement = 'S', kPortal = 'P' };
  Kind kind = Kind::kStatement;
  std::string_view name;
};
Result<Target> parse_describe(std::string_view body);
Result<Target> parse_close(std::string_view body);

struct Execute {
  std::string_view portal;
  std::int32_t max_rows = 0;  // 0: all
};
Result<Execute> parse_execute(std::string_view body);

// The OID of the function, from a head.
Result<std::uint32_t> parse_function_call(std::string_view head);

Result<std::string_view> parse_copy_fail(std::string_view body);

// 'p' says nothing of what it holds; the authentication request that it answers does.
Result<std::string_view> parse_password(std::string_view body);
struct SaslInitialResponse {
  std::string_view mechanism;
  std::optional<std::string_view> response;
};
Result<SaslInitialResponse> parse_sasl_initial_response(std::string_view body);
// SASLResponse: the whole body is the mechanism's.

Status append_query(std::string& out, std::string_view query);
Status append_parse(std::string& out, const Parse& parse);
// A Bind up to its names, for one whose other `rest` bytes are passed on behind it.
Status append_bind_names(std::string& out, std::string_view portal, std::string_view statement,
                         std::size_t rest);
// A Bind of text values, all results as text. No value: NULL.
Status append_bind(std::string& out, std::string_view portal, std::string_view statement,
                   std::span<const std::optional<std::string_view>> values);
Status append_describe(std::string& out, const Target& target);
Status append_close(std::string& out, const Target& target);
Status append_execute(std::string& out, const Execute& execute);
Status append_copy_fail(std::string& out, std::string_view reason);
Status append_password(std::string& out, std::string_view password);
Status append_sasl_initial_response(std::string& out, const SaslInitialResponse& response);
Status append_sasl_response(std::string& out, std::string_view response);
void append_sync(std::string& out);
void append_flush(std::string& out);
void append_copy_done(std::string& out);
void append_terminate(std::string& out);

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_CLIENT_MESSAGES_H_
