#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_GATE_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_GATE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/core/state_codec.h"
#include "vmm_device/virtio/queue.h"
#include "vmm_device/virtio/vsock_packet.h"

namespace clonesafe::virtio {

// Whether the guest of a vsock device may get packets. Closed in a restored device until the
// guest's driver has taken the TRANSPORT_RESET event; meanwhile it holds the resets that the guest
// is to get then. Not thread-safe: the device locks.
class VsockGate {
 public:
  bool is_open() const { return state_ == State::kOpen; }

  // A restored device runs. An event that the source had delivered already still counts.
  void close() {
    if (state_ != State::kEventDelivered) state_ = State::kEventPending;
  }
  // The driver reset the device: it knows of nothing that was before.
  void reset() {
    state_ = State::kOpen;
    held_.clear();
  }

  // Of a closed gate: delivers the event if the driver has a buffer for it, and opens once the
  // driver has taken it. Whether it is open now. An error is the driver's.
  Result<bool> pass(Queue& events, Chain& chain);

  // Keeps a reset for when the gate opens; drops it if there are too many.
  void hold(const VsockHeader& reset);
  std::vector<VsockHeader> take_held() { return std::exchange(held_, {}); }

  // `more` are resets that a clone's guest is to get too.
  void save(StateEncoder& encoder, const std::vector<VsockHeader>& more) const;
  Status restore(StateDecoder& decoder);

 private:
  enum class State : std::uint8_t { kOpen = 0, kEventPending = 1, kEventDelivered = 2 };

  State state_ = State::kOpen;
  std::uint16_t index_ = 0;  // the driver's, when the event was delivered
  std::vector<VsockHeader> held_;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_GATE_H_
