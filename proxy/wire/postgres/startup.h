#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_STARTUP_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_STARTUP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "proxy/wire/postgres/protocol.h"

namespace clonesafe::wire::postgres {

// What a client sends before its first typed message.

struct Parameter {
  std::string_view name;
  std::string_view value;
  bool operator==(const Parameter&) const = default;
};

// A protocol extension that the client asks for, and not a setting.
bool is_protocol_option(std::string_view name);

struct StartupPacket {
  enum class Kind : std::uint8_t {
    kStartup,     // StartupMessage of protocol 3.x
    kCancel,      // CancelRequest
    kTlsRequest,  // SSLRequest: answered by one byte
    kGssRequest,  // GSSENCRequest: answered by one byte
    // A TLS record: "direct" TLS of PostgreSQL 17. Nothing was taken from the input.
    kTlsRecord,
  };
  Kind kind = Kind::kStartup;
  std::uint32_t version = 0;          // kStartup: major << 16 | minor; major is 3
  std::vector<Parameter> parameters;  // kStartup: in order, no name twice
  std::uint32_t process = 0;          // kCancel
  std::string_view key;               // kCancel: 4 to 256 bytes

  std::optional<std::string_view> parameter(std::string_view name) const;
  std::uint32_t minor_version() const { return version & 0xffff; }
};

// Takes one packet after the other from a stream given in reads of any size, none longer than
// `max_size` bytes with its length (a server's own limit, at most kMaxStartupPacket). It stops
// after each packet: what `input` still holds behind a TLS or GSS request came unencrypted and must
// be refused, and what follows a StartupMessage is for a Framer.
//
// The texts of a packet lie here until the next call.
// Not thread-safe; one for each connection.
class StartupFramer {
 public:
  explicit StartupFramer(std::uint32_t max_size = kMaxStartupPacket);

  // Nothing: all of `input` was taken, and the packet goes on. After an error, the same error.
  Result<std::optional<StartupPacket>> next(std::string_view& input);
  bool between_packets() const { return kept_.empty() || kept_is_out_; }

 private:
  Result<StartupPacket> parse(std::string_view packet);

  std::uint32_t max_size_;
  bool kept_is_out_ = false;
  std::string kept_;
  std::string error_;
};

// How a server answers SSLRequest or GSSENCRequest. Anything else is an error, an ErrorResponse
// too: it came unencrypted, from who knows whom.
Result<bool> accepts_encryption(StartupPacket::Kind request, char answer);

// They append to `out`; if a text can't be sent (a zero byte in it, or no name), nothing.
Status append_startup(std::string& out, std::uint32_t version,
                      const std::vector<Parameter>& parameters);
Status append_cancel_request(std::string& out, std::uint32_t process, std::string_view key);
void append_tls_request(std::string& out);
void append_gss_request(std::string& out);

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_STARTUP_H_
