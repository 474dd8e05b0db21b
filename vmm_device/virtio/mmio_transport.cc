#include "vmm_device/virtio/mmio_transport.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstring>

namespace clonesafe::virtio {
namespace {

// A guest can fail and reset in a loop; the log is not its to fill.
constexpr unsigned kMaxErrorsLogged = 8;

std::uint64_t with_low(std::uint64_t value, std::uint32_t low) {
  return (value & 0xffffffff00000000) | low;
}
std::uint64_t with_high(std::uint64_t value, std::uint32_t high) {
  return (value & 0xffffffff) | (std::uint64_t{high} << 32);
}

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

void MmioTransport::read(std::uint64_t offset, std::span<std::byte> data) {
  if (offset >= kRegisterConfig) {
    device_.read_config(offset - kRegisterConfig, data);
    return;
  }
  // 4.2.2.2: the driver uses 32-bit aligned accesses; others read as nothing.
  if (data.size() != sizeof(std::uint32_t) || offset % sizeof(std::uint32_t) != 0) return;
  const std::uint32_t value = read_register(static_cast<std::uint32_t>(offset));
  std::memcpy(data.data(), &value, sizeof value);
}

void MmioTransport::write(std::uint64_t offset, std::span<const std::byte> data) {
  // No device of ours has a writable configuration field.
  if (offset >= kRegisterConfig) return;
  if (data.size() != sizeof(std::uint32_t) || offset % sizeof(std::uint32_t) != 0) return;
  std::uint32_t value = 0;
  std::memcpy(&value, data.data(), sizeof value);
  write_register(static_cast<std::uint32_t>(offset), value);
}

std::uint32_t MmioTransport::read_register(std::uint32_t offset) {
  const std::lock_guard lock(registers_);
  const bool queue_exists = queue_select_ < queue_states_.size();
  switch (offset) {
    case kRegisterMagic:
      return kMmioMagic;
    case kRegisterVersion:
      return kMmioVersion;
    case kRegisterDeviceId:
      return device_.id();
    case kRegisterVendorId:
      return kMmioVendorId;
    case kRegisterDeviceFeatures:
      if (device_features_select_ > 1) return 0;
      return static_cast<std::uint32_t>(features_ >> (32 * device_features_select_));
    case kRegisterQueueSizeMax:
      return queue_exists ? queue_sizes_[queue_select_] : 0;
    case kRegisterQueueReady:
      return queue_exists && queue_states_[queue_select_].config.ready ? 1 : 0;
    case kRegisterInterruptStatus:
      return interrupt_status_;
    case kRegisterStatus:
      return status_;
    case kRegisterSharedMemoryLengthLow:
    case kRegisterSharedMemoryLengthHigh:
      return 0xffffffff;  // 4.2.2.1: no such region
    case kRegisterConfigGeneration:
      return config_generation_;
    default:
      return 0;
  }
}

void MmioTransport::write_register(std::uint32_t offset, std::uint32_t value) {
  switch (offset) {
    case kRegisterQueueNotify:
      if (value < queue_sizes_.size()) again(value);
      return;
    case kRegisterStatus:
      write_status(value);
      return;
    default:
      break;
  }

  const std::lock_guard lock(registers_);
  switch (offset) {
    case kRegisterDeviceFeaturesSelect:
      device_features_select_ = value;
      return;
    case kRegisterDriverFeaturesSelect:
      driver_features_select_ = value;
      return;
    case kRegisterDriverFeatures:
      // 3.1.1: after FEATURES_OK the set is fixed.
      if ((status_ & kStatusFeaturesOk) != 0 || driver_features_select_ > 1) return;
      driver_features_ = driver_features_select_ == 0 ? with_low(driver_features_, value)
                                                      : with_high(driver_features_, value);
      return;
    case kRegisterQueueSelect:
      queue_select_ = value;
      return;
    case kRegisterInterruptAck:
      interrupt_status_ &= ~value;
      return;
    default:
      write_queue_register(offset, value);
      return;
  }
}

void MmioTransport::write_queue_register(std::uint32_t offset, std::uint32_t value) {
  if (queue_select_ >= queue_states_.size()) return;
  QueueConfig& config = queue_states_[queue_select_].config;
  if (offset == kRegisterQueueReady) {
    if (value == 0 && config.ready && (status_ & kStatusDriverOk) != 0) {
      need_reset(Error("queue " + std::to_string(queue_select_) + " taken away while in use"));
    } else if (value != 0 && !config.ready) {
      auto checked = Queue::create(memory_, config);
      if (!checked || config.size > queue_sizes_[queue_select_]) {
        need_reset((checked ? Error("queue larger than offered") : std::move(checked).error())
                       .within("queue " + std::to_string(queue_select_)));
        return;
      }
      config.ready = true;
    } else if (value == 0) {
      config.ready = false;
    }
    return;
  }
  // 4.2.2.2: a queue in use does not change.
  if (config.ready) return;
  const auto set_low = [&](GuestAddress& a) { a = GuestAddress(with_low(a.value(), value)); };
  const auto set_high = [&](GuestAddress& a) { a = GuestAddress(with_high(a.value(), value)); };
  switch (offset) {
    case kRegisterQueueSize:
      // A size that doesn't fit in 16 bits is no size; 0 is refused when the queue is made ready.
      config.size = value <= 0xffff ? static_cast<std::uint16_t>(value) : 0;
      return;
    case kRegisterQueueDescriptorsLow:
      return set_low(config.descriptors);
    case kRegisterQueueDescriptorsHigh:
      return set_high(config.descriptors);
    case kRegisterQueueDriverLow:
      return set_low(config.driver);
    case kRegisterQueueDriverHigh:
      return set_high(config.driver);
    case kRegisterQueueDeviceLow:
      return set_low(config.device);
    case kRegisterQueueDeviceHigh:
      return set_high(config.device);
    default:
      return;
  }
}

void MmioTransport::write_status(std::uint32_t value) {
  if (value == 0) {
    // The rings' lock first: when this write is done, the device has let go of the guest's memory.
    const std::lock_guard rings_lock(rings_);
    live_ = false;
    for (auto& queue : queues_) queue.reset();
    const std::lock_guard lock(registers_);
    reset_registers();
    post_work();
    return;
  }
  const std::lock_guard lock(registers_);
  const bool had_driver_ok = (status_ & kStatusDriverOk) != 0;
  std::uint32_t status = (value & 0xff) | (status_ & kStatusNeedsReset);
  if ((status & kStatusFeaturesOk) != 0 && (status_ & kStatusFeaturesOk) == 0 &&
      ((driver_features_ & ~features_) != 0 || (driver_features_ & kFeatureVersion1) == 0)) {
    // 3.1.1 step 5: the driver reads the bit back and sees that it was refused.
    status &= ~kStatusFeaturesOk;
  }
  if ((status & kStatusFeaturesOk) == 0) status &= ~kStatusDriverOk;
  // Bits once set are cleared only by a reset (2.1.1).
  status_ |= status;
  if (!had_driver_ok && (status_ & kStatusDriverOk) != 0 &&
      (status_ & (kStatusNeedsReset | kStatusFailed)) == 0) {
    activation_wanted_ = true;
    post_work();
  }
}

void MmioTransport::reset_registers() {
  status_ = 0;
  interrupt_status_ = 0;
  device_features_select_ = 0;
  driver_features_select_ = 0;
  driver_features_ = 0;
  queue_select_ = 0;
  queue_states_.assign(queue_sizes_.size(), QueueState{});
  activation_wanted_ = false;
  restored_ = false;
  ++resets_;
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

// Holds registers_.
void MmioTransport::interrupt(std::uint32_t cause) {
  interrupt_status_ |= cause;
  interrupt_.raise();
}

void MmioTransport::post_work() {
  if (work_posted_.exchange(true, std::memory_order_acq_rel)) return;
  boost::asio::post(device_thread_, [this] { do_work(); });
}

void MmioTransport::do_work() {
  // Cleared first: what is asked for from here on posts again.
  work_posted_.store(false, std::memory_order_release);
  reconcile();
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
    for (std::size_t index = 0; index < queue_states_.size(); ++index) {
      const QueueState& state = queue_states_[index];
      const std::string which = "queue " + std::to_string(index);
      if (!state.config.ready) return need_reset(Error(which + " was not set up"));
      auto queue = Queue::create(memory_, state.config, state.next_available, state.next_used);
      if (!queue) return need_reset(std::move(queue).error().within(which));
      queues_[index] = std::move(*queue);
    }
    live_ = true;
    kind = restored_ ? Activation::kRestored : Activation::kDriver;
    restored_ = false;
  }
  device_.activated(kind);
  for (std::size_t index = 0; index < queue_sizes_.size(); ++index) device_.notified(index);
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

void MmioTransport::pause() {
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
  for (std::size_t index = 0; index < queue_sizes_.size(); ++index) {
    notified_[index].store(true, std::memory_order_release);
  }
  post_work();
}

void MmioTransport::save(StateEncoder& encoder) const {
  {
    const std::lock_guard rings_lock(rings_);
    const std::lock_guard lock(registers_);
    encoder.put(device_.id());
    encoder.put(status_);
    encoder.put(interrupt_status_);
    encoder.put(device_features_select_);
    encoder.put(driver_features_select_);
    encoder.put(driver_features_);
    encoder.put(queue_select_);
    encoder.put(config_generation_);
    encoder.put(static_cast<std::uint32_t>(queue_states_.size()));
    for (std::size_t index = 0; index < queue_states_.size(); ++index) {
      const QueueState& state = queue_states_[index];
      const std::optional<Queue>& queue = queues_[index];
      encoder.put(state.config.size);
      encoder.put(static_cast<std::uint8_t>(state.config.ready));
      encoder.put(state.config.descriptors.value());
      encoder.put(state.config.driver.value());
      encoder.put(state.config.device.value());
      encoder.put(queue ? queue->next_available() : state.next_available);
      encoder.put(queue ? queue->next_used() : state.next_used);
    }
  }
  // Without our locks: a device takes its own before ours.
  device_.save(encoder);
}

Status MmioTransport::restore(StateDecoder& decoder) {
  if (auto restored = restore_registers(decoder); !restored) return restored;
  return device_.restore(decoder);
}

Status MmioTransport::restore_registers(StateDecoder& decoder) {
  const std::lock_guard rings_lock(rings_);
  const std::lock_guard lock(registers_);
  paused_ = true;
  // One chain of reads: the first that fails says where.
  std::optional<Error> error;
  const auto get = [&]<typename T>(T& value) {
    if (error) return;
    auto read = decoder.get<T>();
    if (read) {
      value = *read;
    } else {
      error = std::move(read).error();
    }
  };
  std::uint32_t id = 0;
  std::uint32_t queues = 0;
  get(id);
  if (!error && id != device_.id()) {
    return decoder.corrupt("device " + std::to_string(id) + " where " + name_ + " is " +
                           std::to_string(device_.id()));
  }
  get(status_);
  get(interrupt_status_);
  get(device_features_select_);
  get(driver_features_select_);
  get(driver_features_);
  get(queue_select_);
  get(config_generation_);
  get(queues);
  if (!error && queues != queue_states_.size()) {
    return decoder.corrupt(std::to_string(queues) + " queues where " + name_ + " has " +
                           std::to_string(queue_states_.size()));
  }
  for (QueueState& state : queue_states_) {
    std::uint8_t ready = 0;
    std::uint64_t descriptors = 0;
    std::uint64_t driver = 0;
    std::uint64_t device = 0;
    get(state.config.size);
    get(ready);
    get(descriptors);
    get(driver);
    get(device);
    get(state.next_available);
    get(state.next_used);
    state.config.ready = ready != 0;
    state.config.descriptors = GuestAddress(descriptors);
    state.config.driver = GuestAddress(driver);
    state.config.device = GuestAddress(device);
  }
  if (error) return clonesafe::fail(std::move(*error));
  for (std::size_t index = 0; index < queue_states_.size(); ++index) {
    const QueueConfig& config = queue_states_[index].config;
    if (!config.ready) continue;
    auto checked = Queue::create(memory_, config);
    if (!checked) return decoder.corrupt(name_ + ": " + checked.error().message());
    if (config.size > queue_sizes_[index]) return decoder.corrupt("queue larger than offered");
  }
  if ((driver_features_ & ~features_) != 0 && (status_ & kStatusFeaturesOk) != 0) {
    return decoder.corrupt(name_ + ": features that this version does not have");
  }
  activation_wanted_ =
      (status_ & kStatusDriverOk) != 0 && (status_ & (kStatusNeedsReset | kStatusFailed)) == 0;
  restored_ = activation_wanted_;
  // The clone's configuration space may differ from its parent's (the guest CID).
  ++config_generation_;
  return {};
}

std::string MmioTransport::last_error() const {
  const std::lock_guard lock(registers_);
  return last_error_;
}

}  // namespace clonesafe::virtio
