#include "vmm_device/virtio/queue.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

namespace clonesafe::virtio {
namespace {

// Offsets in both rings (2.7.6, 2.7.8): flags, index, then the entries.
constexpr std::size_t kRingFlags = 0;
constexpr std::size_t kRingIndex = 2;
constexpr std::size_t kRingEntries = 4;

// The guest's CPUs use these words at the same time; create() checked the alignment.
std::atomic_ref<std::uint16_t> shared_word(std::span<std::byte> ring, std::size_t offset) {
  return std::atomic_ref<std::uint16_t>(*reinterpret_cast<std::uint16_t*>(ring.data() + offset));
}

Result<std::span<std::byte>> ring_part(const GuestMemory& memory, const char* name,
                                       GuestAddress address, std::uint64_t size,
                                       std::uint64_t alignment) {
  if (address.value() % alignment != 0) {
    return fail(std::string(name) + " at an address that is not a multiple of " +
                std::to_string(alignment));
  }
  auto bytes = memory.at(address, size);
  if (!bytes) return fail(std::move(bytes).error(), name);
  return bytes;
}

}  // namespace

bool Chain::read(std::uint32_t offset, std::span<std::byte> out) const {
  if (offset > readable_size || out.size() > readable_size - offset) return false;
  std::size_t skip = offset;
  for (const auto& part : readable) {
    if (out.empty()) break;
    if (skip >= part.size()) {
      skip -= part.size();
      continue;
    }
    const std::size_t count = std::min(out.size(), part.size() - skip);
    std::memcpy(out.data(), part.data() + skip, count);
    out = out.subspan(count);
    skip = 0;
  }
  return true;
}

std::span<const std::byte> Chain::piece(std::uint32_t offset, std::uint32_t size) const {
  std::size_t skip = offset;
  for (const auto& part : readable) {
    if (skip < part.size())
      return size <= part.size() - skip ? part.subspan(skip, size) : part.first(0);
    skip -= part.size();
  }
  return {};
}

bool Chain::write(std::span<const std::byte> bytes) const {
  if (bytes.size() > writable_size) return false;
  for (const auto& part : writable) {
    if (bytes.empty()) break;
    const std::size_t count = std::min(bytes.size(), part.size());
    std::memcpy(part.data(), bytes.data(), count);
    bytes = bytes.subspan(count);
  }
  return true;
}

Result<Queue> Queue::create(const GuestMemory& memory, const QueueConfig& config,
                            std::uint16_t next_available, std::uint16_t next_used) {
  const std::uint64_t size = config.size;
  if (size == 0 || size > kQueueSizeMax || (size & (size - 1)) != 0) {
    return fail("queue size " + std::to_string(size) + " is not a power of two up to " +
                std::to_string(kQueueSizeMax));
  }
  // Sizes and alignments of 2.7: the trailing 2 bytes are the event index's place.
  auto descriptors =
      ring_part(memory, "descriptor table", config.descriptors, sizeof(Descriptor) * size, 16);
  if (!descriptors) return fail(std::move(descriptors).error());
  auto available = ring_part(memory, "available ring", config.driver, 6 + 2 * size, 2);
  if (!available) return fail(std::move(available).error());
  auto used = ring_part(memory, "used ring", config.device, 6 + sizeof(UsedElement) * size, 4);
  if (!used) return fail(std::move(used).error());

  Queue queue;
  queue.memory_ = &memory;
  queue.size_ = config.size;
  queue.next_available_ = next_available;
  queue.next_used_ = next_used;
  queue.interrupted_at_ = next_used;
  queue.indirect_descriptors_ = config.indirect_descriptors;
  queue.event_index_ = config.event_index;
  queue.descriptors_ = *descriptors;
  queue.available_ = *available;
  queue.used_ = *used;
  return queue;
}

std::uint16_t Queue::available_index() const {
  // Acquire: the entries and descriptors that the index announces are read after it.
  return shared_word(available_, kRingIndex).load(std::memory_order_acquire);
}

Result<std::span<const std::byte>> Queue::indirect_table(const Descriptor& descriptor,
                                                         std::uint16_t index) const {
  const std::string which = "descriptor " + std::to_string(index);
  if (!indirect_descriptors_) return fail(which + " is indirect, which was not negotiated");
  // 2.7.5.3.1: nothing comes after it.
  if ((descriptor.flags & kDescriptorNext) != 0)
    return fail(which + " is indirect, and has a next");
  if (descriptor.length == 0 || descriptor.length % sizeof(Descriptor) != 0)
    return fail(which + ": a table of " + std::to_string(descriptor.length) + " bytes");
  auto table = memory_->at(GuestAddress(descriptor.address), descriptor.length);
  if (!table) return fail(std::move(table).error(), which);
  return *table;
}

Result<bool> Queue::pop(Chain& chain) {
  const auto waiting = static_cast<std::uint16_t>(available_index() - next_available_);
  if (waiting == 0) return false;
  if (waiting > size_) {
    return fail("available index is " + std::to_string(waiting) + " ahead in a queue of " +
                std::to_string(size_));
  }
  const std::uint16_t head =
      shared_word(available_,
                  kRingEntries + 2 * std::size_t{next_available_} % (2 * std::size_t{size_}))
          .load(std::memory_order_relaxed);

  chain.head = head;
  chain.readable.clear();
  chain.writable.clear();
  std::uint64_t readable = 0;
  std::uint64_t writable = 0;
  std::span<const std::byte> table = descriptors_;
  bool indirect = false;
  std::uint32_t limit = size_;
  std::size_t index = head;
  for (std::uint32_t count = 0;; ++count) {
    if (index >= table.size() / sizeof(Descriptor)) {
      return fail("descriptor " + std::to_string(index) + " in a " +
                  (indirect ? "table of " : "queue of ") +
                  std::to_string(table.size() / sizeof(Descriptor)));
    }
    // A chain has each descriptor at most once, so a longer one is a loop; and one in a table is no
    // longer than the queue either (2.7.5.3.1).
    if (count == limit) return fail("descriptor chain " + std::to_string(head) + " is a loop");
    Descriptor descriptor;
    std::memcpy(&descriptor, table.data() + sizeof descriptor * index, sizeof descriptor);
    if ((descriptor.flags & kDescriptorIndirect) != 0) {
      auto inner = indirect
                       ? fail("descriptor " + std::to_string(index) + " in a table is indirect")
                       : indirect_table(descriptor, static_cast<std::uint16_t>(index));
      if (!inner) return fail(std::move(inner).error());
      table = *inner;
      indirect = true;
      ++limit;  // what refers to the table is not part of the chain
      index = 0;
      continue;
    }
    const bool is_writable = (descriptor.flags & kDescriptorWrite) != 0;
    if (!is_writable && !chain.writable.empty()) {
      return fail("descriptor " + std::to_string(index) + ": readable after writable");
    }
    if (descriptor.length != 0) {
      auto bytes = memory_->at(GuestAddress(descriptor.address), descriptor.length);
      if (!bytes) {
        return fail(std::move(bytes).error(), "descriptor " + std::to_string(index));
      }
      if (is_writable) {
        memory_->wrote(*bytes);
        chain.writable.push_back(*bytes);
        writable += descriptor.length;
      } else {
        chain.readable.push_back(*bytes);
        readable += descriptor.length;
      }
    }
    if ((descriptor.flags & kDescriptorNext) == 0) break;
    index = descriptor.next;
  }
  // 2.7.5: a chain is no longer than 2^32 bytes.
  if (readable + writable > std::numeric_limits<std::uint32_t>::max()) {
    return fail("descriptor chain " + std::to_string(head) + " is longer than 4 GiB");
  }
  chain.readable_size = static_cast<std::uint32_t>(readable);
  chain.writable_size = static_cast<std::uint32_t>(writable);
  ++next_available_;
  return true;
}

void Queue::put(const Chain& chain, std::uint32_t written) {
  // Again: between pop() and this, a snapshot may have begun to count anew.
  for (const auto& part : chain.writable) memory_->wrote(part);
  const UsedElement element{.id = chain.head, .length = written};
  const auto place =
      used_.subspan(kRingEntries + sizeof element * (next_used_ % size_), sizeof element);
  std::memcpy(place.data(), &element, sizeof element);
  memory_->wrote(place);
  ++next_used_;
}

void Queue::publish() {
  // Release: the driver that sees the index sees the elements and the buffers' bytes.
  shared_word(used_, kRingIndex).store(next_used_, std::memory_order_release);
  memory_->wrote(used_.first(kRingEntries));
}

bool Queue::take_interrupt() {
  const std::uint16_t before = std::exchange(interrupted_at_, next_used_);
  if (before == next_used_) return false;
  // The index must be visible before the flag or the event is read (2.7.7.2), or both sides could
  // decide to wait.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!event_index_) {
    return (shared_word(available_, kRingFlags).load(std::memory_order_relaxed) &
            kAvailNoInterrupt) == 0;
  }
  // 2.7.7.2: if the index went over the one that the driver waits for. It is behind the last entry.
  const std::uint16_t event = shared_word(available_, kRingEntries + std::size_t{2} * size_)
                                  .load(std::memory_order_relaxed);
  return static_cast<std::uint16_t>(next_used_ - event - 1) <
         static_cast<std::uint16_t>(next_used_ - before);
}

void Queue::set_notifications(bool wanted) {
  if (event_index_) {
    // 2.7.10: the driver notifies when it adds the buffer with this index. One that is behind it
    // already will not come soon.
    if (!wanted) return;
    const std::size_t place = kRingEntries + sizeof(UsedElement) * size_;
    shared_word(used_, place).store(next_available_, std::memory_order_relaxed);
    memory_->wrote(used_.subspan(place, sizeof next_available_));
  } else {
    shared_word(used_, kRingFlags).store(wanted ? 0 : kUsedNoNotify, std::memory_order_relaxed);
    memory_->wrote(used_.first(kRingEntries));
  }
  // Visible before the device looks at the index again.
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // namespace clonesafe::virtio
