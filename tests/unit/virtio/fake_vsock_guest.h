#ifndef CLONESAFE_TESTS_UNIT_VIRTIO_FAKE_VSOCK_GUEST_H_
#define CLONESAFE_TESTS_UNIT_VIRTIO_FAKE_VSOCK_GUEST_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "tests/unit/virtio/fake_driver.h"
#include "vmm_device/virtio/vsock_packet.h"

namespace clonesafe::virtio {

// A packet as the guest got it, or sends it.
struct Packet {
  VsockHeader header;
  std::string data;
  VsockOperation operation() const { return header.operation; }
};

// A guest's vsock driver over a memory of its own: three rings, receive buffers, and packets. Its
// state is plain data, so that a copy of it and of its memory is the guest of a clone.
class FakeVsockGuest {
 public:
  static constexpr std::uint32_t kReceiveSize = 4096 + sizeof(VsockHeader);
  static constexpr std::uint32_t kSendSize = 64 * 1024 + sizeof(VsockHeader);
  static constexpr std::size_t kMemorySize = 0xf0000;
  static constexpr std::uint64_t kRings = FakeMemory::kStart + 0x10000;
  static constexpr std::uint64_t kReceive = FakeMemory::kStart + 0x20000;
  static constexpr std::uint64_t kSend = FakeMemory::kStart + 0x61000;
  static constexpr std::uint64_t kEvents = FakeMemory::kStart + 0x18000;
  static constexpr std::uint16_t kReceiveBuffers = 64;
  static constexpr std::uint16_t kSendBuffers = 8;

  void start(const GuestMemory& memory, const FakeRegisters& registers) {
    registers.negotiate();
    registers.set_up(0, receive_);
    registers.set_up(1, send_);
    registers.set_up(2, events_);
    for (std::uint16_t i = 0; i < kReceiveBuffers; ++i) add_receive_buffer(memory, i);
    for (std::uint16_t i = 0; i < 8; ++i) add_event_buffer(memory, i);
    registers.go();
  }

  // What came since the last call, in order; the buffers go back to the device.
  std::vector<Packet> receive(const GuestMemory& memory) {
    std::vector<Packet> packets;
    while (give_back_) {
      const auto used = receive_.take_used(memory);
      if (!used) break;
      const std::uint64_t at = kReceive + std::uint64_t{kReceiveSize} * used->id;
      Packet packet{.header = memory.read<VsockHeader>(GuestAddress(at)).value(), .data = {}};
      packet.data.resize(used->length - sizeof(VsockHeader));
      if (!packet.data.empty()) {
        const auto bytes = memory.at(GuestAddress(at + sizeof(VsockHeader)), packet.data.size());
        std::memcpy(packet.data.data(), bytes->data(), packet.data.size());
      }
      packets.push_back(std::move(packet));
      add_receive_buffer(memory, static_cast<std::uint16_t>(used->id));
    }
    return packets;
  }

  // Whether a send buffer is free.
  bool can_send(const GuestMemory& memory) {
    while (send_.take_used(memory)) --in_flight_;
    return in_flight_ < kSendBuffers;
  }
  void send(const GuestMemory& memory, VsockHeader header, std::string_view data = {}) {
    ASSERT_TRUE(can_send(memory));
    header.length = static_cast<std::uint32_t>(data.size());
    const std::uint64_t at = kSend + std::uint64_t{kSendSize} * (sent_++ % kSendBuffers);
    FakeQueue::put(memory, at, header);
    std::vector<Part> parts = {{.address = at, .length = sizeof header}};
    if (!data.empty()) {
      std::memcpy(memory.at(GuestAddress(at + sizeof header), data.size())->data(), data.data(),
                  data.size());
      parts.push_back(
          {.address = at + sizeof header, .length = static_cast<std::uint32_t>(data.size())});
    }
    send_.add(memory, parts);
    ++in_flight_;
  }

  // An event that the device sent, and whose buffer isn't given back yet.
  std::optional<std::uint32_t> take_event(const GuestMemory& memory) {
    const auto used = events_.take_used(memory);
    if (!used) return std::nullopt;
    event_taken_ = static_cast<std::uint16_t>(used->id);
    return memory.read<std::uint32_t>(GuestAddress(kEvents + std::uint64_t{4} * used->id)).value();
  }
  void give_event_back(const GuestMemory& memory) { add_event_buffer(memory, event_taken_); }

  FakeQueue& receive_queue() { return receive_; }
  FakeQueue& send_queue() { return send_; }
  // A guest that takes nothing.
  void stop_receiving() { give_back_ = false; }
  void go_on_receiving() { give_back_ = true; }

 private:
  // Each buffer's descriptor has the buffer's number: rings of the same size as buffers.
  void add_receive_buffer(const GuestMemory& memory, std::uint16_t index) {
    FakeQueue::put(memory, receive_.descriptors() + std::uint64_t{16} * index,
                   Descriptor{kReceive + std::uint64_t{kReceiveSize} * index, kReceiveSize,
                              kDescriptorWrite, 0});
    receive_.publish(memory, index);
  }
  void add_event_buffer(const GuestMemory& memory, std::uint16_t index) {
    FakeQueue::put(memory, events_.descriptors() + std::uint64_t{16} * index,
                   Descriptor{kEvents + std::uint64_t{4} * index, 4, kDescriptorWrite, 0});
    events_.publish(memory, index);
  }

  FakeQueue receive_{kRings, kReceiveBuffers};
  FakeQueue send_{kRings + 0x2000, 32};
  FakeQueue events_{kRings + 0x4000, 64};
  std::uint32_t sent_ = 0;
  int in_flight_ = 0;
  std::uint16_t event_taken_ = 0;
  bool give_back_ = true;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_TESTS_UNIT_VIRTIO_FAKE_VSOCK_GUEST_H_
