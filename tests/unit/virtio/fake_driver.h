#ifndef CLONESAFE_TESTS_UNIT_VIRTIO_FAKE_DRIVER_H_
#define CLONESAFE_TESTS_UNIT_VIRTIO_FAKE_DRIVER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "vmm_device/core/guest_memory.h"
#include "vmm_device/virtio/mmio_transport.h"

namespace clonesafe::virtio {

class CountingLine final : public InterruptLine {
 public:
  void raise() override { ++raised; }
  std::atomic<int> raised = 0;
};

// A guest's memory: one page-aligned region, so that a copy of its bytes is a snapshot of it.
class FakeMemory {
 public:
  static constexpr std::uint64_t kStart = 0x100000;
  explicit FakeMemory(std::size_t size)
      : bytes_(static_cast<std::byte*>(std::aligned_alloc(4096, size))), size_(size) {
    std::memset(bytes_, 0, size);
  }
  FakeMemory(const FakeMemory& other) : FakeMemory(other.size_) {
    std::memcpy(bytes_, other.bytes_, size_);
  }
  FakeMemory& operator=(const FakeMemory&) = delete;
  ~FakeMemory() { std::free(bytes_); }

  std::span<std::byte> bytes() const { return {bytes_, size_}; }
  GuestMemory memory() const { return GuestMemory({{GuestAddress(kStart), bytes()}}); }

 private:
  std::byte* bytes_;
  std::size_t size_;
};

// One part of a chain, as a driver describes it.
struct Part {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  bool writable = false;
  std::uint16_t extra_flags = 0;
  std::optional<std::uint16_t> next;  // instead of the one that follows
};

// The driver's side of one queue, at `base` in guest memory (8 KiB of it). Plain data, so that a
// copy goes on in a clone's memory.
class FakeQueue {
 public:
  FakeQueue() = default;
  FakeQueue(std::uint64_t base, std::uint16_t size) : base_(base), size_(size) {}

  std::uint64_t descriptors() const { return base_; }
  std::uint64_t available() const { return base_ + 0x1000; }
  std::uint64_t used() const { return base_ + 0x1800; }
  std::uint16_t size() const { return size_; }

  // Adds a chain; its first descriptor.
  std::uint16_t add(const GuestMemory& memory, const std::vector<Part>& parts) {
    const std::uint16_t head = next_descriptor_;
    for (std::size_t index = 0; index < parts.size(); ++index) {
      const Part& part = parts[index];
      const auto following = static_cast<std::uint16_t>((next_descriptor_ + 1) % size_);
      std::uint16_t flags = part.extra_flags;
      if (part.writable) flags |= kDescriptorWrite;
      if (index + 1 < parts.size() || part.next) flags |= kDescriptorNext;
      put(memory, descriptors() + std::uint64_t{16} * next_descriptor_,
          Descriptor{part.address, part.length, flags, part.next.value_or(following)});
      next_descriptor_ = following;
    }
    publish(memory, head);
    return head;
  }
  void publish(const GuestMemory& memory, std::uint16_t head) {
    put(memory, available() + 4 + std::uint64_t{2} * (available_index_ % size_), head);
    ++available_index_;
    index(memory, available() + 2).store(available_index_, std::memory_order_release);
  }
  // The next chain that the device returned.
  std::optional<UsedElement> take_used(const GuestMemory& memory) {
    if (index(memory, used() + 2).load(std::memory_order_acquire) == used_index_)
      return std::nullopt;
    auto element =
        memory
            .read<UsedElement>(GuestAddress(used() + 4 + std::uint64_t{8} * (used_index_ % size_)))
            .value();
    ++used_index_;
    return element;
  }
  template <typename T>
  static void put(const GuestMemory& memory, std::uint64_t address, const T& value) {
    if (!memory.write(GuestAddress(address), value)) std::abort();
  }

 private:
  // Both sides use these at the same time.
  static std::atomic_ref<std::uint16_t> index(const GuestMemory& memory, std::uint64_t address) {
    const auto bytes = memory.at(GuestAddress(address), sizeof(std::uint16_t));
    if (!bytes) std::abort();
    return std::atomic_ref<std::uint16_t>(*reinterpret_cast<std::uint16_t*>(bytes->data()));
  }

  std::uint64_t base_ = 0;
  std::uint16_t size_ = 0;
  std::uint16_t next_descriptor_ = 0;
  std::uint16_t available_index_ = 0;
  std::uint16_t used_index_ = 0;
};

// What a driver does to a transport's registers.
class FakeRegisters {
 public:
  explicit FakeRegisters(MmioTransport& transport) : transport_(transport) {}
  std::uint32_t read(std::uint32_t offset) const {
    std::uint32_t value = 0xffffffff;
    transport_.read(offset, std::as_writable_bytes(std::span<std::uint32_t, 1>(&value, 1)));
    return value;
  }
  void write(std::uint32_t offset, std::uint32_t value) const {
    transport_.write(offset, std::as_bytes(std::span<const std::uint32_t, 1>(&value, 1)));
  }
  void negotiate(std::uint64_t features = kFeatureVersion1) const {
    write(kRegisterStatus, 0);
    write(kRegisterStatus, kStatusAcknowledge);
    write(kRegisterStatus, kStatusAcknowledge | kStatusDriver);
    for (std::uint32_t half = 0; half < 2; ++half) {
      write(kRegisterDriverFeaturesSelect, half);
      write(kRegisterDriverFeatures, static_cast<std::uint32_t>(features >> (32 * half)));
    }
    write(kRegisterStatus, kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk);
  }
  void set_up(std::uint32_t index, const FakeQueue& queue) const {
    write(kRegisterQueueSelect, index);
    write(kRegisterQueueSize, queue.size());
    write(kRegisterQueueDescriptorsLow, static_cast<std::uint32_t>(queue.descriptors()));
    write(kRegisterQueueDescriptorsHigh, static_cast<std::uint32_t>(queue.descriptors() >> 32));
    write(kRegisterQueueDriverLow, static_cast<std::uint32_t>(queue.available()));
    write(kRegisterQueueDriverHigh, static_cast<std::uint32_t>(queue.available() >> 32));
    write(kRegisterQueueDeviceLow, static_cast<std::uint32_t>(queue.used()));
    write(kRegisterQueueDeviceHigh, static_cast<std::uint32_t>(queue.used() >> 32));
    write(kRegisterQueueReady, 1);
  }
  void go() const {
    write(kRegisterStatus,
          kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk | kStatusDriverOk);
  }
  void notify(std::uint32_t queue) const { write(kRegisterQueueNotify, queue); }

 private:
  MmioTransport& transport_;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_TESTS_UNIT_VIRTIO_FAKE_DRIVER_H_
