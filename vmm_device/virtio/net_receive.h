#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_NET_RECEIVE_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_NET_RECEIVE_H_

#include <cstddef>
#include <span>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/virtio/queue.h"

namespace clonesafe::virtio::net {

enum class Delivery {
  kDone,
  kNoBuffers,  // the driver will notify the device when it has given more
  kNoRoom      // no buffers of this driver's ever have room for it
};

// Puts a frame, with its header, into the driver's buffers: one, or as many as it takes if they
// were negotiated to be mergeable (5.1.6.4). `chains` is room to work in. An error is the driver's.
Result<Delivery> deliver(Queue& queue, std::span<std::byte> frame, bool mergeable,
                         std::vector<Chain>& chains);

}  // namespace clonesafe::virtio::net

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_NET_RECEIVE_H_
