#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_NET_CONTROL_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_NET_CONTROL_H_

#include "libclonesafe/base/error.h"
#include "vmm_device/virtio/queue.h"

namespace clonesafe::virtio::net {

// Answers one command of the control queue (5.1.6.5). True: the driver has announced itself.
// Everything else is refused, as no feature for it was offered.
Result<bool> answer_control(const Chain& chain);

}  // namespace clonesafe::virtio::net

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_NET_CONTROL_H_
