#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_NET_FRAME_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_NET_FRAME_H_

#include <sys/uio.h>

#include <cstdint>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/virtio/net_abi.h"
#include "vmm_device/virtio/queue.h"

namespace clonesafe::virtio::net {

// A frame with its header; one of a whole 64 KiB segment, its Ethernet header and tags fits.
inline constexpr std::uint32_t kMaxFrame = sizeof(Header) + 64 * 1024 + 64;
inline constexpr std::uint32_t kMinFrame = sizeof(Header) + 14;

// A frame that the guest wants to have sent. The header is a copy, because it was checked; the
// frame's bytes are still the guest's.
struct OutgoingFrame {
  Header header{};
  std::vector<iovec> parts;  // the header, then the frame where it lies
  std::uint32_t size = 0;    // of both
};

// Makes `frame` of a chain. False if it is none that a driver with these features may send: such a
// frame is dropped, as a wire would lose it.
bool take_frame(const Chain& chain, std::uint64_t features, OutgoingFrame& frame);

}  // namespace clonesafe::virtio::net

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_NET_FRAME_H_
