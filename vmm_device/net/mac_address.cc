#include "vmm_device/net/mac_address.h"

#include <sys/random.h>

#include <charconv>
#include <cstdio>

namespace clonesafe::network {
namespace {

// IEEE 802, 8.2: the two lowest bits of the first byte.
constexpr std::uint8_t kGroup = 1;
constexpr std::uint8_t kLocal = 2;
constexpr std::size_t kTextSize = 17;

}  // namespace

Status check(const MacAddress& mac) {
  if ((mac.bytes[0] & kGroup) != 0) return fail(to_string(mac) + " is the address of a group");
  if (mac == MacAddress{}) return fail(to_string(mac) + " is no interface's address");
  return {};
}

Result<MacAddress> parse_mac(std::string_view text) {
  MacAddress mac;
  bool good = text.size() == kTextSize;
  for (std::size_t index = 0; good && index < mac.bytes.size(); ++index) {
    const char* const at = text.data() + 3 * index;
    const auto [end, error] = std::from_chars(at, at + 2, mac.bytes[index], 16);
    good = error == std::errc() && end == at + 2 && (index == 5 || *end == ':');
  }
  if (!good) return fail("'" + std::string(text) + "' is not an address such as 52:54:00:12:34:56");
  if (auto valid = check(mac); !valid) return fail(std::move(valid).error());
  return mac;
}

std::string to_string(const MacAddress& mac) {
  char text[kTextSize + 1];
  const auto& b = mac.bytes;
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4],
                b[5]);
  return text;
}

Result<MacAddress> random_mac() {
  MacAddress mac;
  // So few bytes come whole or not at all.
  if (::getrandom(mac.bytes.data(), mac.bytes.size(), 0) != static_cast<ssize_t>(mac.bytes.size()))
    return fail_errno("getrandom");
  mac.bytes[0] = static_cast<std::uint8_t>((mac.bytes[0] & ~kGroup) | kLocal);
  return mac;
}

}  // namespace clonesafe::network
