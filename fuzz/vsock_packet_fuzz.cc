// Any packets from the guest into the socket device, with no host programs but a service inside the
// VMM. The rings are in order; what is in them is the guest's.
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "vmm_device/virtio/vsock_device.h"
#include "vmm_device/virtio/vsock_packet.h"

using namespace clonesafe;
using namespace clonesafe::virtio;

namespace {

constexpr std::uint64_t kStart = 0x1000;
constexpr std::uint16_t kSize = 16;
constexpr std::size_t kRing = 0x1000;        // of memory for each queue
constexpr std::size_t kBuffers = 3 * kRing;  // where the queues' buffers start
constexpr std::size_t kBuffer = 4096;
constexpr std::size_t kMemory = kBuffers + 3 * kBuffer;
alignas(4096) std::byte memory_bytes[kMemory];

// The driver and the transport in one: three queues, one buffer each in use at a time.
class Guest final : public QueueHost {
 public:
  Guest() {
    std::memset(memory_bytes, 0, kMemory);
    for (std::size_t i = 0; i < 3; ++i) {
      const std::uint64_t at = kStart + i * kRing;
      queues_.push_back(Queue::create(memory_, {.size = kSize,
                                                .ready = true,
                                                .descriptors = GuestAddress(at),
                                                .driver = GuestAddress(at + 0x400),
                                                .device = GuestAddress(at + 0x800)})
                            .value());
    }
  }
  void give(std::size_t queue, std::uint32_t length, bool writable) {
    const int waiting = std::uint16_t(available_[queue] - queues_[queue].next_available());
    if (waiting == kSize) return;
    std::byte* ring = memory_bytes + queue * kRing;
    const Descriptor descriptor{kStart + kBuffers + queue * kBuffer, length,
                                writable ? kDescriptorWrite : std::uint16_t{0}, 0};
    std::memcpy(ring, &descriptor, sizeof descriptor);
    ++available_[queue];
    std::memcpy(ring + 0x402, &available_[queue], 2);
  }
  std::byte* buffer(std::size_t queue) { return memory_bytes + kBuffers + queue * kBuffer; }

  bool acquire() override { return true; }
  Queue& queue(std::size_t index) override { return queues_[index]; }
  void release() override {}
  // The rings are in order, so there is nothing to complain of.
  void fail(const Error&) override { std::abort(); }
  std::uint64_t driver_features() const override { return kFeatureVersion1; }
  void again(std::size_t) override {}

 private:
  GuestMemory memory_{{{GuestAddress(kStart), std::span(memory_bytes)}}};
  std::vector<Queue> queues_;
  std::uint16_t available_[3]{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  boost::asio::io_context io;
  auto device =
      VsockDevice::create(io, {.guest_cid = 3, .max_connections = 4, .buffer_size = 2048});
  if (!device) std::abort();
  std::vector<UniqueFd> served;
  (*device)->listen(1, [&](UniqueFd stream) -> Status {
    // Says something, and closes every other stream at once.
    static_cast<void>(::send(stream.get(), "welcome", 7, MSG_DONTWAIT | MSG_NOSIGNAL));
    if (served.size() % 2 == 0) ::shutdown(stream.get(), SHUT_WR);
    served.push_back(std::move(stream));
    return {};
  });
  Guest guest;
  (*device)->attach(guest);
  (*device)->activated(Activation::kDriver);

  // Each packet: how long, what the driver does beside it, the bytes.
  while (size >= 2) {
    const std::size_t length = std::min<std::size_t>(data[0] * std::size_t{16}, size - 2);
    const std::uint8_t beside = data[1];
    data += 2;
    size -= 2;
    if (length > 0) {
      std::memcpy(guest.buffer(1), data, length);
      guest.give(1, static_cast<std::uint32_t>(length), false);
      data += length;
      size -= length;
    }
    (*device)->notified(1);
    if ((beside & 1) != 0) {
      guest.give(0, sizeof(VsockHeader) + beside, true);
      (*device)->notified(0);
    }
    if ((beside & 2) != 0 && !served.empty()) {
      char sink[512];
      static_cast<void>(::recv(served.back().get(), sink, sizeof sink, MSG_DONTWAIT));
    }
    if ((beside & 4) != 0 && !served.empty()) served.pop_back();
    if ((beside & 0xf8) == 0xf8) (*device)->reset();
    io.restart();
    io.poll();
    if ((*device)->counts().streams > 4) std::abort();
  }
  return 0;
}
