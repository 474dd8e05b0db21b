#include "vmm_device/virtio/mmio_transport.h"

#include <spdlog/spdlog.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

namespace clonesafe::virtio {
namespace {

// A guest can fail and reset in a loop; the log is not its to fill.
constexpr unsigned kMaxErrorsLogged = 8;
// A doorbell costs a system call of its own to connect, which a clone's first moments are spared.
constexpr unsigned kNotificationsBeforeDoorbell = 16;

}  // namespace

MmioTransport::MmioTransport(std::string name, const GuestMemory& memory, InterruptLine& interrupt,
                             boost::asio::io_context& device_thread, VirtioDevice& device)
    : name_(std::move(name)),
      memory_(memory),
      interrupt_(interrupt),
      device_thread_(device_thread),
      device_(device),
      queue_sizes_(device.queue_sizes().begin(), device.queue_sizes().end()),
      features_(device.features() | kFeatureVersion1),
      queues_(queue_sizes_.size()),
      queue_states_(queue_sizes_.size()) {
  device_.attach(*this);
}

// Holds registers_.
void MmioTransport::need_reset(const Error& error) {
  last_error_ = error.message();
  if (errors_logged_ < kMaxErrorsLogged) {
    ++errors_logged_;
    spdlog::warn("{}: the guest's driver must reset the device: {}", name_, last_error_);
  }
  status_ |= kStatusNeedsReset;
  activation_wanted_ = false;
  // 2.1.2: with DRIVER_OK set, the driver is told by a configuration change.
  if ((status_ & kStatusDriverOk) != 0) interrupt(kInterruptConfig);
}

// Holds registers_. While a cause is not acknowledged yet, the driver has still to look, and
// another edge would tell it nothing.
void MmioTransport::interrupt(std::uint32_t cause) {
  const bool told = interrupt_status_ != 0;
  interrupt_status_ |= cause;
  if (!told) interrupt_.raise();
}

// Holds registers_. What came after the driver read the causes gets an edge of its own.
void MmioTransport::acknowledge(std::uint32_t causes) {
  interrupt_status_ &= ~causes;
  if (interrupt_status_ != 0) interrupt_.raise();
}

void MmioTransport::post_work() {
  if (work_posted_.exchange(true, std::memory_order_acq_rel)) return;
  boost::asio::post(device_thread_, [this] { do_work(); });
}

void MmioTransport::do_work() {
  // Cleared first: what is asked for from here on posts again.
  work_posted_.store(false, std::memory_order_release);
  reconcile();
  if (doorbell_wanted_.exchange(false, std::memory_order_acq_rel)) connect_doorbell();
  for (std::size_t index = 0; index < queue_sizes_.size(); ++index) {
    if (notified_[index].exchange(false, std::memory_order_acq_rel)) device_.notified(index);
  }
}

// Brings the device to where the registers are: first the resets, then the activation.
void MmioTransport::reconcile() {
  bool reset_happened = false;
  bool activation_wanted = false;
  {
    const std::lock_guard lock(registers_);
    reset_happened = resets_seen_ != resets_;
    resets_seen_ = resets_;
    activation_wanted = activation_wanted_;
  }
  if (reset_happened) device_.reset();
  if (activation_wanted) activate();
}

void MmioTransport::activate() {
  Activation kind = Activation::kDriver;
  {
    const std::lock_guard rings_lock(rings_);
    // A paused device is activated by resume(), so that a snapshot finds it as it was.
    if (paused_) return;
    const std::lock_guard lock(registers_);
    // The driver may have reset the device since; then there is another round.
    if (!activation_wanted_ || resets_seen_ != resets_) return;
    activation_wanted_ = false;
    const std::size_t needed = device_.queues_needed(driver_features_);
    for (std::size_t index = 0; index < queue_states_.size(); ++index) {
      const QueueState& state = queue_states_[index];
      const std::string which = "queue " + std::to_string(index);
      if (!state.config.ready && index >= needed) continue;
      if (!state.config.ready) return need_reset(Error(which + " was not set up"));
      QueueConfig config = state.config;
      config.indirect_descriptors = (driver_features_ & kFeatureIndirectDescriptors) != 0;
      config.event_index = (driver_features_ & kFeatureEventIndex) != 0;
      auto queue = Queue::create(memory_, config, state.next_available, state.next_used);
      if (!queue) return need_reset(std::move(queue).error().within(which));
      queues_[index] = *queue;
    }
    live_ = true;
    active_features_ = driver_features_;
    kind = restored_ ? Activation::kRestored : Activation::kDriver;
    restored_ = false;
  }
  device_.activated(kind);
  for (std::size_t index = 0; index < queue_sizes_.size(); ++index) device_.notified(index);
}

void MmioTransport::count_notification(std::size_t index) {
  if (doorbell_ == nullptr || index != 0 ||
      notifications_.fetch_add(1, std::memory_order_relaxed) + 1 != kNotificationsBeforeDoorbell)
    return;
  doorbell_wanted_.store(true, std::memory_order_release);
  post_work();
}

// Stays over resets and snapshots: a queue that isn't in use is not looked at, and resume() looks
// at all of them. Without it, notifications go on as they did.
void MmioTransport::connect_doorbell() {
  const int event = device_.notification_event();
  if (event < 0) return;
  const auto connected = doorbell_->connect(0, event);
  if (!connected) spdlog::warn("{}: no doorbell: {}", name_, connected.error().message());
}

bool MmioTransport::acquire() {
  rings_.lock();
  bool usable = live_ && !paused_;
  if (usable) {
    const std::lock_guard lock(registers_);
    usable = (status_ & (kStatusNeedsReset | kStatusFailed)) == 0;
  }
  if (!usable) rings_.unlock();
  return usable;
}

void MmioTransport::release() {
  bool wanted = false;
  for (auto& queue : queues_) {
    if (queue && queue->take_interrupt()) wanted = true;
  }
  if (wanted) {
    const std::lock_guard lock(registers_);
    interrupt(kInterruptQueue);
  }
  rings_.unlock();
}

void MmioTransport::fail(const Error& error) {
  const std::lock_guard lock(registers_);
  need_reset(error);
}

void MmioTransport::again(std::size_t index) {
  notified_[index].store(true, std::memory_order_release);
  post_work();
}

void MmioTransport::config_changed() {
  const std::lock_guard lock(registers_);
  ++config_generation_;
  if ((status_ & kStatusDriverOk) != 0) interrupt(kInterruptConfig);
}

void MmioTransport::pause() {
  device_.stop_work();
  const std::lock_guard rings_lock(rings_);
  paused_ = true;
}

void MmioTransport::resume() {
  {
    const std::lock_guard rings_lock(rings_);
    paused_ = false;
    const std::lock_guard lock(registers_);
    // The line may have been raised while nobody took it; a spurious interrupt does no harm.
    if (interrupt_status_ != 0) interrupt_.raise();
  }
  device_.continue_work();
  for (std::size_t index = 0; index < queue_sizes_.size(); ++index) {
    notified_[index].store(true, std::memory_order_release);
  }
  post_work();
}

std::string MmioTransport::last_error() const {
  const std::lock_guard lock(registers_);
  return last_error_;
}

}  // namespace clonesafe::virtio
