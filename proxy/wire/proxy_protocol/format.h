// Numbers of the PROXY protocol's both versions, for this folder.
#ifndef CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_FORMAT_H_
#define CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/proxy_protocol/header.h"

namespace clonesafe::wire::proxy_protocol {

constexpr std::string_view kTextPrefix = "PROXY ";
constexpr std::string_view kLineEnd = "\r\n";
// 2.1: the longest line, its end included.
constexpr std::size_t kTextMax = 107;

constexpr std::string_view kSignature{"\r\n\r\n\0\r\nQUIT\n", 12};
// The signature, version and command, transport, and how many bytes follow.
constexpr std::size_t kFixedSize = 16;
constexpr std::uint8_t kVersion = 0x20;
constexpr std::size_t kTlvHeaderSize = 3;
constexpr std::size_t kChecksumSize = 4;

// 2.2: bytes of both addresses, 0 if it is unspecified; nothing for what is no transport.
constexpr std::optional<std::size_t> addresses_size(Transport transport) {
  switch (transport) {
    case Transport::kUnspecified:
      return 0;
    case Transport::kTcp4:
    case Transport::kUdp4:
      return 2 * (kIpv4Size + sizeof(std::uint16_t));
    case Transport::kTcp6:
    case Transport::kUdp6:
      return 2 * (kIpv6Size + sizeof(std::uint16_t));
    case Transport::kUnixStream:
    case Transport::kUnixDatagram:
      return 2 * kUnixPathSize;
  }
  return std::nullopt;
}
constexpr bool is_unix(Transport transport) {
  return transport == Transport::kUnixStream || transport == Transport::kUnixDatagram;
}
constexpr bool is_ipv4(Transport transport) {
  return transport == Transport::kTcp4 || transport == Transport::kUdp4;
}

constexpr std::uint16_t big_endian_16(std::string_view bytes) {
  return static_cast<std::uint16_t>(static_cast<unsigned char>(bytes[0]) << 8 |
                                    static_cast<unsigned char>(bytes[1]));
}
inline void append_big_endian_16(std::string& out, std::uint16_t number) {
  out.push_back(static_cast<char>(number >> 8));
  out.push_back(static_cast<char>(number & 0xff));
}

Result<std::optional<Header>> parse_text(std::string_view input);
Result<std::optional<Header>> parse_binary(std::string_view input, HeaderLimits limits);

}  // namespace clonesafe::wire::proxy_protocol

#endif  // CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_FORMAT_H_
