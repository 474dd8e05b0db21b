// Private to net_device.cc and net_traffic.cc.
#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_NET_DEVICE_IMPL_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_NET_DEVICE_IMPL_H_

#include <sys/uio.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "vmm_device/virtio/net_abi.h"
#include "vmm_device/virtio/net_device.h"
#include "vmm_device/virtio/net_frame.h"
#include "vmm_device/virtio/parked_frames.h"

namespace clonesafe::virtio {

// The state of a network device, and what it does.
//
// One lock for all of it, taken before the transport's: handlers run on the device thread, but
// vCPUs read the configuration and a snapshot is saved from another.
class NetDevice::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(boost::asio::io_context& io, std::string name, network::Tap tap, const NetOptions& options)
      : name_(std::move(name)),
        options_(options),
        tap_(std::move(tap)),
        descriptor_(io),
        mac_(options.mac.value_or(network::MacAddress{})),
        mtu_(tap_.mtu),
        held_(options.hold),
        incoming_(net::kMaxFrame + 1) {}

  Status open() {
    boost::system::error_code error;
    if (descriptor_.assign(tap_.fd.get(), error))
      return fail(name_ + ": tap " + tap_.name + ": " + error.message());
    static_cast<void>(tap_.fd.release());  // it is descriptor_'s
    return {};
  }

  void attach(QueueHost& host) { host_ = &host; }
  const std::string& tap() const { return tap_.name; }

  bool held() const {
    const std::lock_guard lock(mutex_);
    return held_;
  }
  network::MacAddress mac() const {
    const std::lock_guard lock(mutex_);
    return mac_;
  }
  NetCounts counts() const {
    const std::lock_guard lock(mutex_);
    NetCounts counts = counts_;
    counts.parked_now = parked_.size();
    return counts;
  }

  void release() {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(held_, false)) return;
    transmit();
    receive();
  }

  net::Config config() const;
  void activated(Activation activation);

  void notified(std::size_t queue) {
    const std::lock_guard lock(mutex_);
    switch (queue) {
      case net::kReceiveQueue:
        return receive();
      case net::kTransmitQueue:
        return transmit();
      default:
        return control();
    }
  }

  // What was parked stays: for the driver it is sent.
  void reset() {
    const std::lock_guard lock(mutex_);
    received_ = 0;
    announce_ = false;
    announce_due_ = false;
    parents_end_.reset();
  }

  // No vCPU runs while a machine is paused: what is queued now is all that it queued before a
  // snapshot.
  void stop_work() {
    const std::lock_guard lock(mutex_);
    const QueueLease lease(host_);
    queued_end_.reset();
    if (lease) queued_end_ = lease.queue(net::kTransmitQueue).available_index();
  }

  void save(StateEncoder& encoder) const;
  Status restore(StateDecoder& decoder);

 private:
  using Descriptor = boost::asio::posix::stream_descriptor;

  // All in net_traffic.cc. To the guest:
  void receive();
  // Into incoming_. False: there is none now.
  bool read_frame(const QueueLease& lease);
  void drop_received();

  // From the guest:
  void transmit();
  // False: the tap is full, and the frame stays where it is.
  bool take_frame(const QueueLease& lease);
  // The parent's frames are done with, and not sent. At most a ring of them.
  Status drop_parents(Queue& queue);
  void hold_frame();
  // False: the tap is full.
  bool send_parked(const QueueLease& lease);
  bool send(const QueueLease& lease, std::span<const iovec> parts, std::size_t size);

  // Beside:
  void control();
  // Has a restored guest tell switches where it is now; in one that is held, once it is released,
  // with the addresses that it has by then.
  void announce(const QueueLease& lease);
  Error tap_error() const;
  void link_down(const QueueLease& lease, const Error& error);
  void wait(Descriptor::wait_type what);

  const std::string name_;
  const NetOptions options_;
  network::Tap tap_;
  Descriptor descriptor_;
  QueueHost* host_ = nullptr;

  mutable std::mutex mutex_;
  network::MacAddress mac_;
  std::uint16_t mtu_;
  bool link_up_ = true;
  bool announce_ = false;  // the driver is asked to, and hasn't said that it did
  bool announce_due_ = false;
  bool held_;
  std::uint64_t features_ = 0;
  std::optional<std::uint16_t> queued_end_;   // of the transmit queue, while it is paused
  std::optional<std::uint16_t> parents_end_;  // in a clone that hasn't looked at its queue yet
  bool reading_ = false;                      // waits for the tap
  bool writing_ = false;
  NetCounts counts_;
  net::ParkedFrames parked_;

  std::vector<std::byte> incoming_;
  std::size_t received_ = 0;  // of the frame in incoming_; 0: none
  net::OutgoingFrame frame_;
  Chain chain_;
  std::vector<Chain> chains_;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_NET_DEVICE_IMPL_H_
