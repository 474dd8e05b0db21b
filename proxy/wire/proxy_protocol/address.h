#ifndef CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_ADDRESS_H_
#define CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_ADDRESS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace clonesafe::wire::proxy_protocol {

constexpr std::size_t kIpv4Size = 4;
constexpr std::size_t kIpv6Size = 16;
// As sun_path.
constexpr std::size_t kUnixPathSize = 108;

// One end of a connection. Which of the families it is of, the header's transport says.
struct Address {
  // An IPv4 or IPv6 address in network order, zeroes behind it.
  std::array<std::uint8_t, kIpv6Size> ip{};
  std::uint16_t port = 0;
  // Of a Unix socket; empty if it has none. An abstract name begins with a NUL.
  std::string_view path;

  bool operator==(const Address&) const = default;
};

// "192.0.2.1" or "2001:db8::1".
std::string ipv4_text(const Address& address);
std::string ipv6_text(const Address& address);
// Dotted, each number without a zero in front.
bool parse_ipv4(std::string_view text, Address& address);
// RFC 4291, without a zone.
bool parse_ipv6(std::string_view text, Address& address);

}  // namespace clonesafe::wire::proxy_protocol

#endif  // CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_ADDRESS_H_
