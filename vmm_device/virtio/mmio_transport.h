#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_MMIO_TRANSPORT_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_MMIO_TRANSPORT_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/core/bus_device.h"
#include "vmm_device/core/guest_memory.h"
#include "vmm_device/core/state_codec.h"
#include "vmm_device/virtio/device.h"
#include "vmm_device/virtio/queue.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::virtio {

// One virtio device on the MMIO bus (virtio 1.2, 4.2): registers, negotiation, queues, interrupts.
//
// A driver that breaks the rules gets DEVICE_NEEDS_RESET and nothing more until it resets the
// device; the reason is in last_error() and, a few times, in the log.
//
// Snapshot: pause vCPUs; pause(); save(); then resume() in the source. In the clone: construct,
// restore() (which leaves it paused), and resume() before the vCPUs run.
class MmioTransport final : public BusDevice, private QueueHost {
 public:
  static constexpr std::size_t kMaxQueues = 8;

  // Everything given must outlive the transport; `name` stands in messages ("vsock").
  MmioTransport(std::string name, const GuestMemory& memory, InterruptLine& interrupt,
                boost::asio::io_context& device_thread, VirtioDevice& device);

  // The doorbell of the QueueNotify register: a device with a notification_event() is notified
  // through it, once it has been often enough. Before the guest runs; outlives the transport.
  void use_doorbell(Doorbell& doorbell) { doorbell_ = &doorbell; }

  // On any thread.
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

  // After pause() returns nothing touches guest memory for this device, and every request that it
  // had taken from a queue is answered; resume() goes on, and looks
  // at every queue, so that nothing that came meanwhile waits for the next notification. On any
  // thread.
  void pause();
  void resume();

  // While paused.
  void save(StateEncoder& encoder) const;
  // On a new transport. The bytes are untrusted.
  Status restore(StateDecoder& decoder);

  // The last reason for DEVICE_NEEDS_RESET; empty if there was none.
  std::string last_error() const;

 private:
  struct QueueState {
    QueueConfig config;
    std::uint16_t next_available = 0;  // used while the queue isn't active
    std::uint16_t next_used = 0;
  };

  // QueueHost.
  bool acquire() override;
  Queue& queue(std::size_t index) override {
    // Whoever holds the rings found live_ set, and then all queues are there that it needs.
    return *queues_[index];  // NOLINT(bugprone-unchecked-optional-access)
  }
  bool has_queue(std::size_t index) const override { return queues_[index].has_value(); }
  void release() override;
  void fail(const Error& error) override;
  std::uint64_t driver_features() const override { return active_features_; }
  void again(std::size_t index) override;
  void config_changed() override;

  std::uint32_t read_register(std::uint32_t offset);
  void write_register(std::uint32_t offset, std::uint32_t value);
  void write_status(std::uint32_t value);
  void write_queue_register(std::uint32_t offset, std::uint32_t value);
  void reset_registers();
  Status restore_registers(StateDecoder& decoder);
  void need_reset(const Error& error);
  void interrupt(std::uint32_t cause);
  void acknowledge(std::uint32_t causes);
  void post_work();
  void do_work();
  void reconcile();
  void activate();
  // vCPUs: counts a write to QueueNotify.
  void count_notification(std::size_t index);
  void connect_doorbell();

  const std::string name_;
  const GuestMemory& memory_;
  InterruptLine& interrupt_;
  boost::asio::io_context& device_thread_;
  VirtioDevice& device_;
  const std::vector<std::uint16_t> queue_sizes_;
  const std::uint64_t features_;

  // Two locks, taken in this order. rings_ is held while a device works on its queues; a reset
  // takes it, and has the device end what it had taken, so that a driver which has written 0 to
  // Status may reuse the memory at once (2.1.2).
  // registers_ is held briefly.
  mutable std::mutex rings_;
  std::vector<std::optional<Queue>> queues_;  // rings_
  bool live_ = false;                         // rings_: queues_ are usable
  bool paused_ = false;                       // rings_
  std::uint64_t active_features_ = 0;         // rings_: what queues_ were made for

  mutable std::mutex registers_;
  std::uint32_t status_ = 0;
  std::uint32_t interrupt_status_ = 0;
  std::uint32_t device_features_select_ = 0;
  std::uint32_t driver_features_select_ = 0;
  std::uint64_t driver_features_ = 0;
  std::uint32_t queue_select_ = 0;
  std::uint32_t config_generation_ = 0;
  std::vector<QueueState> queue_states_;
  std::uint64_t resets_ = 0;  // written by the driver
  bool activation_wanted_ = false;
  std::string last_error_;
  unsigned errors_logged_ = 0;

  // Device thread only.
  std::uint64_t resets_seen_ = 0;

  // What is posted to the device thread is one handler, however often a guest writes a register.
  std::atomic<bool> work_posted_ = false;
  std::array<std::atomic<bool>, kMaxQueues> notified_{};
  Doorbell* doorbell_ = nullptr;
  std::atomic<unsigned> notifications_ = 0;  // of the first queue, through the register
  std::atomic<bool> doorbell_wanted_ = false;
  bool restored_ = false;  // registers_: the next activation is of a restored device
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_MMIO_TRANSPORT_H_
