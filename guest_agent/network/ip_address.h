#ifndef CLONESAFE_GUEST_AGENT_NETWORK_IP_ADDRESS_H_
#define CLONESAFE_GUEST_AGENT_NETWORK_IP_ADDRESS_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/network_interface.h"

namespace clonesafe::agent {

// An IPv4 or IPv6 address.
struct IpAddress {
  std::uint8_t family = 0;  // AF_INET or AF_INET6
  std::array<std::uint8_t, 16> storage = {};

  std::size_t size() const;
  std::span<const std::uint8_t> bytes() const { return std::span(storage).first(size()); }
  bool operator==(const IpAddress&) const = default;
};

// An interface's address with the length of its network's prefix ("10.0.0.2/24"), or a network.
struct IpPrefix {
  IpAddress address;
  std::uint8_t length = 0;
  bool operator==(const IpPrefix&) const = default;
};

Result<IpAddress> parse_ip(std::string_view text);
Result<IpPrefix> parse_prefix(std::string_view text);
// As the kernel's messages have one: 4 or 16 bytes.
Result<IpAddress> ip_from_bytes(std::span<const std::uint8_t> bytes);

std::string to_string(const IpAddress& address);
std::string to_string(const IpPrefix& prefix);

// The network's own address: with zeros behind the prefix.
IpAddress network_of(const IpPrefix& prefix);
// The last address of an IPv4 network.
IpAddress broadcast_of(const IpPrefix& prefix);
bool is_zero(const IpAddress& address);
bool is_multicast(const IpAddress& address);

// RFC 4291, appendix A: fe80::/64 and the interface's Ethernet address.
IpPrefix link_local_of(const network::MacAddress& mac);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_NETWORK_IP_ADDRESS_H_
