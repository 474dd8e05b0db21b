// proxy_protocol: the PROXY protocol of HAProxy, versions 1 and 2: the header in front of a
// connection that says who it is from and for.
#ifndef CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_HEADER_H_
#define CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/proxy_protocol/address.h"

namespace clonesafe::wire::proxy_protocol {

// Which versions are taken; there is no way to tell a header from what a client may send, so a
// listener always or never expects one.
enum class Accept : std::uint8_t { kEither, kTextOnly, kBinaryOnly };

struct HeaderLimits {
  std::size_t size = 4096;  // of a header of version 2, in bytes; version 1 has at most 107
};

enum class Command : std::uint8_t {
  kLocal = 0,  // from the proxy itself, such as a health check: the addresses are the connection's
  kProxy = 1,
};

enum class Transport : std::uint8_t {
  kUnspecified = 0x00,  // the addresses are the connection's
  kTcp4 = 0x11,
  kUdp4 = 0x12,
  kTcp6 = 0x21,
  kUdp6 = 0x22,
  kUnixStream = 0x31,
  kUnixDatagram = 0x32,
};

// Of a header that was parsed, views are of the input.
struct Header {
  std::uint8_t version = 2;
  Command command = Command::kProxy;
  Transport transport = Transport::kUnspecified;
  // Of the family that the transport says; empty if it is unspecified or the command is kLocal.
  Address source;
  Address destination;
  // Of version 2: type-length-value entries, which TlvReader takes apart.
  std::string_view tlvs;
  // Bytes of the input; what the connection carries comes behind them.
  std::size_t size = 0;
};

// The header that `input` begins with. Nothing: more input is needed, with these bytes in front.
// Refused: what is no header, addresses and ports in other forms than the specification's, and a
// CRC32C in it that isn't right. An input of max(107, limits.size) bytes is always enough.
Result<std::optional<Header>> parse_header(std::string_view input, HeaderLimits limits = {},
                                           Accept accept = Accept::kEither);

// Appends `header` in its version. `size` doesn't count. In version 2 it gets a CRC32C when
// `checksum` says so; `header.tlvs` may not have one then. Refused: what has no form in its
// version.
Status append_header(std::string& out, const Header& header, bool checksum = false);

}  // namespace clonesafe::wire::proxy_protocol

#endif  // CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_HEADER_H_
