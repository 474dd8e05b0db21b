// net: the host's side of a guest's network: taps, their network namespaces, and addresses; no KVM
// and no virtio in it.
#ifndef CLONESAFE_VMM_DEVICE_NET_MAC_ADDRESS_H_
#define CLONESAFE_VMM_DEVICE_NET_MAC_ADDRESS_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"

namespace clonesafe::network {

// The Ethernet address of one interface.
struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};
  bool operator==(const MacAddress&) const = default;
};

// "52:54:00:12:34:56"; refuses what no interface can have (a group's address, all zeroes).
Result<MacAddress> parse_mac(std::string_view text);
Status check(const MacAddress& mac);
std::string to_string(const MacAddress& mac);

// 46 random bits, marked as locally administered.
Result<MacAddress> random_mac();

}  // namespace clonesafe::network

#endif  // CLONESAFE_VMM_DEVICE_NET_MAC_ADDRESS_H_
