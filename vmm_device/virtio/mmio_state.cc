// What a snapshot keeps of MmioTransport.
#include <utility>

#include "vmm_device/virtio/mmio_transport.h"

namespace clonesafe::virtio {

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
  device_.stop_work();
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

}  // namespace clonesafe::virtio
