// net: the host's side of a guest's network: taps, their network namespaces, and addresses; no KVM
// and no virtio in it.
#ifndef CLONESAFE_VMM_DEVICE_NET_MAC_ADDRESS_H_
#define CLONESAFE_VMM_DEVICE_NET_MAC_ADDRESS_H_

#include "libclonesafe/base/network_interface.h"

namespace clonesafe::network {

// 46 random bits, marked as locally administered.
Result<MacAddress> random_mac();

}  // namespace clonesafe::network

#endif  // CLONESAFE_VMM_DEVICE_NET_MAC_ADDRESS_H_
