#ifndef CLONESAFE_BASE_NETWORK_INTERFACE_H_
#define CLONESAFE_BASE_NETWORK_INTERFACE_H_

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"

namespace clonesafe::network {

// The Ethernet address of one interface.
struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};
  bool operator==(const MacAddress&) const = default;
};

inline std::string to_string(const MacAddress& mac) {
  char text[18];
  const auto& b = mac.bytes;
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4],
                b[5]);
  return text;
}

// Refuses what no interface can have (a group's address, all zeroes).
inline Status check(const MacAddress& mac) {
  constexpr std::uint8_t kGroup = 1;  // IEEE 802, 8.2
  if ((mac.bytes[0] & kGroup) != 0) return fail(to_string(mac) + " is the address of a group");
  if (mac == MacAddress{}) return fail(to_string(mac) + " is no interface's address");
  return {};
}

// "52:54:00:12:34:56"; only what an interface can have.
inline Result<MacAddress> parse_mac(std::string_view text) {
  MacAddress mac;
  bool good = text.size() == 17;
  for (std::size_t index = 0; good && index < mac.bytes.size(); ++index) {
    const char* const at = text.data() + 3 * index;
    const auto [end, error] = std::from_chars(at, at + 2, mac.bytes[index], 16);
    good = error == std::errc() && end == at + 2 && (index == 5 || *end == ':');
  }
  if (!good) return fail("'" + std::string(text) + "' is not an address such as 52:54:00:12:34:56");
  if (auto valid = check(mac); !valid) return fail(std::move(valid).error());
  return mac;
}

// Linux's IFNAMSIZ; no separators of paths, and of our command lines.
inline Status check_interface_name(std::string_view name) {
  constexpr std::size_t kLongest = 15;
  const auto bad = [](char c) {
    return c <= ' ' || c > '~' || c == '/' || c == ':' || c == '%' || c == ',';
  };
  if (name.empty() || name.size() > kLongest || name == "." || name == ".." ||
      std::ranges::any_of(name, bad))
    return fail("'" + std::string(name) + "' is not the name of an interface");
  return {};
}

}  // namespace clonesafe::network

#endif  // CLONESAFE_BASE_NETWORK_INTERFACE_H_
