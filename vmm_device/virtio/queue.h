#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_QUEUE_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/core/guest_memory.h"
#include "vmm_device/virtio/virtio_abi.h"

namespace clonesafe::virtio {

// A queue as the driver set it up.
struct QueueConfig {
  std::uint16_t size = 0;
  bool ready = false;
  GuestAddress descriptors;
  GuestAddress driver;  // the available ring
  GuestAddress device;  // the used ring
  // What was negotiated for all queues of the device.
  bool indirect_descriptors = false;
  bool event_index = false;
};

// A descriptor chain whose every byte was found in guest memory. The bytes are shared with the
// guest, which may change them at any time: copy, then check the copy.
struct Chain {
  std::uint16_t head = 0;
  std::vector<std::span<const std::byte>> readable;
  std::vector<std::span<std::byte>> writable;
  std::uint32_t readable_size = 0;
  std::uint32_t writable_size = 0;

  // Copies from the readable part, from `offset` on; false if it is shorter than that.
  bool read(std::uint32_t offset, std::span<std::byte> out) const;
  // These bytes of the readable part where they lie; nothing if they don't lie in one piece.
  std::span<const std::byte> piece(std::uint32_t offset, std::uint32_t size) const;
  // Copies into the start of the writable part; false if it is shorter than that.
  bool write(std::span<const std::byte> bytes) const;
};

// The device's side of a split virtqueue (virtio 1.2, 2.7). Not thread-safe: whoever holds the
// lease of the queues uses it.
//
// A queue that breaks the rules (an index that jumps, a loop, an address outside memory, a writable
// descriptor before a readable one) gives an error; the transport then stops the device and sets
// DEVICE_NEEDS_RESET. Nothing of a bad chain was touched.
class Queue {
 public:
  // Checks the configuration; `next_available` and `next_used` are 0, or come from a snapshot.
  static Result<Queue> create(const GuestMemory& memory, const QueueConfig& config,
                              std::uint16_t next_available = 0, std::uint16_t next_used = 0);

  // Takes the next chain; false if there is none.
  Result<bool> pop(Chain& chain);
  // Gives the chain that pop() took last back; called again, the one before it. Before any of them
  // is pushed.
  void undo_pop() { --next_available_; }
  // Returns a chain to the driver with `written` bytes in its writable part.
  void push(const Chain& chain, std::uint32_t written) {
    put(chain, written);
    publish();
  }
  // The same for chains that the driver must find together: it sees none before publish().
  void put(const Chain& chain, std::uint32_t written);
  void publish();

  // The driver's index: moves whenever it adds buffers.
  std::uint16_t available_index() const;
  bool has_available() const { return available_index() != next_available_; }
  // Whether the driver wants an interrupt for what was pushed since the last call.
  bool take_interrupt();
  // Whether the driver shall notify the device of new buffers. A device that takes buffers anyway
  // spares the guest the exits; after it asks for them again, it must look once more. One that
  // never calls this is notified always, unless it offered event indexes.
  void set_notifications(bool wanted);

  std::uint16_t size() const { return size_; }
  std::uint16_t next_available() const { return next_available_; }
  std::uint16_t next_used() const { return next_used_; }

 private:
  Queue() = default;
  Result<std::span<const std::byte>> indirect_table(const Descriptor& descriptor,
                                                    std::uint16_t index) const;

  const GuestMemory* memory_ = nullptr;
  std::uint16_t size_ = 0;
  std::uint16_t next_available_ = 0;
  std::uint16_t next_used_ = 0;
  std::uint16_t interrupted_at_ = 0;  // next_used_ when take_interrupt() was called last
  bool indirect_descriptors_ = false;
  bool event_index_ = false;
  std::span<std::byte> descriptors_;
  std::span<std::byte> available_;
  std::span<std::byte> used_;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_QUEUE_H_
