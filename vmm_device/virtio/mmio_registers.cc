// The registers of MmioTransport (virtio 1.2, 4.2.2), as vCPUs read and write them.
#include <cstring>

#include "vmm_device/virtio/mmio_transport.h"

namespace clonesafe::virtio {
namespace {

std::uint64_t with_low(std::uint64_t value, std::uint32_t low) {
  return (value & 0xffffffff00000000) | low;
}
std::uint64_t with_high(std::uint64_t value, std::uint32_t high) {
  return (value & 0xffffffff) | (std::uint64_t{high} << 32);
}

}  // namespace

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
  if (offset >= kRegisterConfig) {
    device_.write_config(offset - kRegisterConfig, data);
    return;
  }
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
      if (value >= queue_sizes_.size()) return;
      count_notification(value);
      if (device_.notified_on_any_thread())
        device_.notified(value);
      else
        again(value);
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
      acknowledge(value);
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
    // When this write is done, the device has let go of the guest's memory.
    device_.stop_work();
    {
      const std::lock_guard rings_lock(rings_);
      live_ = false;
      for (auto& queue : queues_) queue.reset();
      device_.forget_chains();
      const std::lock_guard lock(registers_);
      reset_registers();
      post_work();
    }
    device_.continue_work();
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

}  // namespace clonesafe::virtio
