#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_NET_DEVICE_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_NET_DEVICE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "libclonesafe/base/error.h"
#include "vmm_device/net/mac_address.h"
#include "vmm_device/net/tap.h"
#include "vmm_device/virtio/device.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::virtio {

struct NetOptions {
  // Of a device that is to be restored: nothing for the snapshot's.
  std::optional<network::MacAddress> mac;
  bool hold = false;  // until release()
  // Restored as a clone: what its parent had queued to be sent is the parent's alone.
  bool drop_queued = false;
};

// What a network device did since it was made. Sent and received are the guest's.
struct NetCounts {
  std::uint64_t received_frames = 0;
  std::uint64_t received_bytes = 0;
  std::uint64_t received_lost = 0;  // too large for the driver's buffers, or cut short
  std::uint64_t sent_frames = 0;
  std::uint64_t sent_bytes = 0;
  std::uint64_t sent_lost = 0;   // malformed, or refused by the tap: its link is down, say
  std::uint64_t parents = 0;     // of the parent's that a clone did not send
  std::uint64_t parked = 0;      // while the network was held, to be sent later
  std::uint64_t held_lost = 0;   // while it was held: received, or sent with no room to park it
  std::uint64_t held_stale = 0;  // and sent on TCP connections of before: never sent
  std::uint64_t parked_now = 0;
};

// The network device (virtio 1.2, 5.1) on a tap, with one pair of queues and a control queue.
//
// Frames are neither made whole nor looked into: checksums and segmentation that the driver left to
// others are the tap's business, by the header before each frame. Nothing is kept of a frame but
// one that was received and waits for buffers, and, while the network is held, what is parked. When
// the tap is full the device stops taking frames from the guest, which keeps their order.
//
// Held: from the device's making until release() no frame reaches the tap and none of the tap's
// reaches the guest. Frames of the guest are parked (ParkedFrames) and sent in their order at the
// release, but for what a TCP connection of before the hold sends again: since nothing reaches the
// guest, no new connection gets beyond its SYN, so every other TCP segment is of an old one, and
// dropped. What comes from the tap is dropped. The guest sees nothing of it: its link is up.
//
// A snapshot has no frame in it: what was parked, and what waits for buffers, is the source's.
//
// A tap that is gone is a link that is down, for good.
class NetDevice final : public VirtioDevice {
 public:
  // `name` stands in messages ("net 0").
  static Result<std::unique_ptr<NetDevice>> create(boost::asio::io_context& device_thread,
                                                   std::string name, network::Tap tap,
                                                   const NetOptions& options);
  ~NetDevice() override;

  // On the device thread. The end of the hold; without one, nothing.
  void release();
  bool held() const;
  NetCounts counts() const;
  network::MacAddress mac() const;
  const std::string& tap() const;

  std::uint32_t id() const override { return kDeviceIdNet; }
  std::uint64_t features() const override;
  std::span<const std::uint16_t> queue_sizes() const override;
  std::size_t queues_needed(std::uint64_t driver_features) const override;
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void attach(QueueHost& host) override;
  void activated(Activation activation) override;
  void notified(std::size_t queue) override;
  void reset() override;
  void stop_work() override;
  void save(StateEncoder& encoder) const override;
  Status restore(StateDecoder& decoder) override;

 private:
  class Impl;
  explicit NetDevice(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_NET_DEVICE_H_
