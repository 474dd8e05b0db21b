#include "vmm_device/net/mac_address.h"

#include <sys/random.h>

namespace clonesafe::network {
namespace {

// IEEE 802, 8.2: the two lowest bits of the first byte.
constexpr std::uint8_t kGroup = 1;
constexpr std::uint8_t kLocal = 2;

}  // namespace

Result<MacAddress> random_mac() {
  MacAddress mac;
  // So few bytes come whole or not at all.
  if (::getrandom(mac.bytes.data(), mac.bytes.size(), 0) != static_cast<ssize_t>(mac.bytes.size()))
    return fail_errno("getrandom");
  mac.bytes[0] = static_cast<std::uint8_t>((mac.bytes[0] & ~kGroup) | kLocal);
  return mac;
}

}  // namespace clonesafe::network
