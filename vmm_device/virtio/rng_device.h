#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_RNG_DEVICE_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_RNG_DEVICE_H_

#include "vmm_device/virtio/device.h"

namespace clonesafe::virtio {

// The entropy device (virtio 1.2, 5.4): gives the guest secret bytes of the host's getrandom(2),
// drawn when the guest asks, so that two clones never get the same. Nothing is kept.
class RngDevice final : public VirtioDevice {
 public:
  std::uint32_t id() const override { return kDeviceIdRng; }
  std::span<const std::uint16_t> queue_sizes() const override;
  void read_config(std::uint64_t, std::span<std::byte>) const override {}
  void attach(QueueHost& host) override { host_ = &host; }
  void activated(Activation) override {}
  void notified(std::size_t queue) override;
  void reset() override {}
  void save(StateEncoder&) const override {}
  Status restore(StateDecoder&) override { return {}; }

 private:
  QueueHost* host_ = nullptr;
  Chain chain_;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_RNG_DEVICE_H_
