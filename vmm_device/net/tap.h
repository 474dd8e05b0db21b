#ifndef CLONESAFE_VMM_DEVICE_NET_TAP_H_
#define CLONESAFE_VMM_DEVICE_NET_TAP_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/network_interface.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::network {

// What the guest's driver does with frames that the host hands it unfinished.
struct Offloads {
  bool checksum = false;  // takes frames whose checksum is still to be made
  bool tso4 = false;      // takes TCP segments larger than the MTU; both need `checksum`
  bool tso6 = false;
  bool operator==(const Offloads&) const = default;
};

// The host's end of a network device. Each read and each write is one frame behind a header of
// virtio-net (virtio 1.2, 5.1.6), 12 bytes. Never blocks.
struct Tap {
  UniqueFd fd;
  std::string name;
  std::uint16_t mtu = 1500;
  std::function<Status(const Offloads&)> set_offloads;
};

// Opens the tap of this name in a network namespace (empty: the process's own), or makes it if
// there is none and the process may; one that it makes is gone with its descriptor.
Result<Tap> open_tap(const std::string& name, const std::string& network_namespace);

}  // namespace clonesafe::network

#endif  // CLONESAFE_VMM_DEVICE_NET_TAP_H_
