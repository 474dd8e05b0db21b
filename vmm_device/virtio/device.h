// virtio: paravirtual devices over virtio-mmio (virtio 1.2, no legacy), with no KVM in them.
//
// Threads: registers are used on vCPU threads; all work on rings is done on one thread, the one
// that runs the io_context given to the transport ("device thread"), or a device's own. A device
// touches its queues only through a QueueLease. Destroy transports and devices on the device thread
// or after it ended, and before the io_context.
#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_DEVICE_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "libclonesafe/base/error.h"
#include "vmm_device/core/state_codec.h"
#include "vmm_device/virtio/queue.h"

namespace clonesafe::virtio {

// What a device sees of its transport. Called on the device thread, or on the device's own.
class QueueHost {
 public:
  virtual ~QueueHost() = default;
  // Keeps the queues in use until release(); false if the driver isn't ready, the device is paused,
  // or it needs a reset. A driver's reset and pause() wait for the release.
  virtual bool acquire() = 0;
  virtual Queue& queue(std::size_t index) = 0;
  // Whether the driver set this one up: of those that it need not. Called while acquired.
  virtual bool has_queue(std::size_t /*index*/) const { return true; }
  // Interrupts the driver for what was pushed, then lets go.
  virtual void release() = 0;
  // The driver broke the rules: DEVICE_NEEDS_RESET. Called while acquired.
  virtual void fail(const Error& error) = 0;
  // What the driver took of what was offered. Called while acquired.
  virtual std::uint64_t driver_features() const = 0;
  // Has notified(index) called soon: for a device that leaves work for later. Asking twice is
  // asking once.
  virtual void again(std::size_t index) = 0;
  // What read_config() gives has changed: tells the driver. Called while acquired.
  virtual void config_changed() {}
};

// The right to touch the queues, for a scope. Keep it short: at most some hundred chains, then ask
// for another turn with again(), because a vCPU that resets the device waits for it.
class QueueLease {
 public:
  explicit QueueLease(QueueHost* host)
      : host_(host != nullptr && host->acquire() ? host : nullptr) {}
  QueueLease(const QueueLease&) = delete;
  QueueLease& operator=(const QueueLease&) = delete;
  ~QueueLease() {
    if (host_ != nullptr) host_->release();
  }
  explicit operator bool() const { return host_ != nullptr; }
  Queue& queue(std::size_t index) const { return host_->queue(index); }
  bool has_queue(std::size_t index) const { return host_->has_queue(index); }
  void fail(const Error& error) const { host_->fail(error); }
  std::uint64_t driver_features() const { return host_->driver_features(); }
  void again(std::size_t index) const { host_->again(index); }
  void config_changed() const { host_->config_changed(); }

 private:
  QueueHost* host_;
};

enum class Activation {
  kDriver,   // the driver set DRIVER_OK
  kRestored  // the driver had set it before the snapshot
};

class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;

  virtual std::uint32_t id() const = 0;
  // Device features, besides VIRTIO_F_VERSION_1.
  virtual std::uint64_t features() const { return 0; }
  // The largest size of each queue.
  virtual std::span<const std::uint16_t> queue_sizes() const = 0;
  // How many of them, from the first on, a driver with these features must have set up. The others
  // may not be there.
  virtual std::size_t queues_needed(std::uint64_t /*driver_features*/) const {
    return queue_sizes().size();
  }
  // On any thread. What is outside the configuration space stays as it is.
  virtual void read_config(std::uint64_t offset, std::span<std::byte> data) const = 0;
  // On a vCPU's thread. What no driver may write is left as it is.
  virtual void write_config(std::uint64_t /*offset*/, std::span<const std::byte> /*data*/) {}

  // Once, by the transport's constructor.
  virtual void attach(QueueHost& host) = 0;

  // On the device thread.
  virtual void activated(Activation activation) = 0;
  // Look at this queue. Also after activation and after a pause, for each queue.
  virtual void notified(std::size_t queue) = 0;
  // A device with a thread of its own may have the driver's notifications at once, on any thread.
  virtual bool notified_on_any_thread() const { return false; }
  // Such a device may have an eventfd, once its thread runs: a signal is a notification of its
  // first queue. -1: it has none.
  virtual int notification_event() const { return -1; }
  // The driver reset the device: forget what belongs to it.
  virtual void reset() = 0;

  // For a device that keeps chains while it doesn't hold a lease. When stop_work() returns, each
  // that it had taken was pushed (or is kept on purpose, see forget_chains()), and it takes none
  // until continue_work() was called as often. On any thread, without a lease.
  virtual void stop_work() {}
  virtual void continue_work() {}
  // Between the two, when the driver resets the device: chains that it still keeps, because it said
  // that it would, are the driver's again.
  virtual void forget_chains() {}

  // On any thread, while the transport is paused.
  virtual void save(StateEncoder& encoder) const = 0;
  // Before the device first runs. The bytes are untrusted.
  virtual Status restore(StateDecoder& decoder) = 0;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_DEVICE_H_
