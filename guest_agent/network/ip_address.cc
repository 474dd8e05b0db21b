#include "guest_agent/network/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "guest_agent/base/bytes.h"

namespace clonesafe::agent {
namespace {

constexpr std::size_t kIpv4Size = 4;
constexpr std::size_t kIpv6Size = 16;

// Sets the bits behind the prefix.
IpAddress with_host_bits(const IpPrefix& prefix, bool ones) {
  IpAddress address = prefix.address;
  for (std::size_t bit = prefix.length; bit < 8 * address.size(); ++bit) {
    const auto mask = static_cast<std::uint8_t>(0x80U >> (bit % 8));
    std::uint8_t& byte = address.storage[bit / 8];
    byte = static_cast<std::uint8_t>(ones ? byte | mask : byte & ~mask);
  }
  return address;
}

}  // namespace

std::size_t IpAddress::size() const {
  return family == AF_INET ? kIpv4Size : family == AF_INET6 ? kIpv6Size : 0;
}

Result<IpAddress> parse_ip(std::string_view text) {
  const std::string copy(text);
  // inet_pton would stop at a zero byte.
  if (copy.find('\0') == std::string::npos) {
    for (const int family : {AF_INET, AF_INET6}) {
      IpAddress address = {.family = static_cast<std::uint8_t>(family)};
      if (::inet_pton(family, copy.c_str(), address.storage.data()) == 1) return address;
    }
  }
  return fail("'" + copy + "' is not an IP address");
}

Result<IpPrefix> parse_prefix(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos)
    return fail("'" + std::string(text) + "' has no prefix length, such as /24");
  auto address = parse_ip(text.substr(0, slash));
  if (!address) return fail(std::move(address.error()));
  IpPrefix prefix = {.address = *address};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + slash + 1, end, prefix.length);
  if (error != std::errc() || stop != end || prefix.length > 8 * address->size())
    return fail("'" + std::string(text) + "' has no prefix length from 0 to " +
                std::to_string(8 * address->size()));
  return prefix;
}

Result<IpAddress> ip_from_bytes(std::span<const std::uint8_t> bytes) {
  if (bytes.size() != kIpv4Size && bytes.size() != kIpv6Size)
    return fail("an address of " + std::to_string(bytes.size()) + " bytes");
  IpAddress address = {
      .family = static_cast<std::uint8_t>(bytes.size() == kIpv4Size ? AF_INET : AF_INET6)};
  std::ranges::copy(bytes, address.storage.begin());
  return address;
}

std::string to_string(const IpAddress& address) {
  char text[INET6_ADDRSTRLEN];
  const char* const done = ::inet_ntop(address.family, address.storage.data(), text, sizeof(text));
  return done == nullptr ? "no address" : done;
}

std::string to_string(const IpPrefix& prefix) {
  return to_string(prefix.address) + "/" + std::to_string(prefix.length);
}

IpAddress network_of(const IpPrefix& prefix) {
  return with_host_bits(prefix, false);
}

IpAddress broadcast_of(const IpPrefix& prefix) {
  return with_host_bits(prefix, true);
}

bool is_zero(const IpAddress& address) {
  return is_zero(address.bytes());
}

bool is_multicast(const IpAddress& address) {
  return address.family == AF_INET ? (address.storage[0] & 0xf0) == 0xe0
                                   : address.storage[0] == 0xff;
}

IpPrefix link_local_of(const network::MacAddress& mac) {
  const auto& b = mac.bytes;
  constexpr std::uint8_t kUniversalBit = 2;
  IpPrefix prefix = {.address = {.family = AF_INET6}, .length = 64};
  prefix.address.storage = {
      0xfe, 0x80, 0,    0,    0,    0,    0,   0, static_cast<std::uint8_t>(b[0] ^ kUniversalBit),
      b[1], b[2], 0xff, 0xfe, b[3], b[4], b[5]};
  return prefix;
}

}  // namespace clonesafe::agent
