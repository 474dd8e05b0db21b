#ifndef CLONESAFE_TESTS_UNIT_NET_NET_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_NET_NET_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/unit/virtio/fake_driver.h"
#include "vmm_device/virtio/net_abi.h"
#include "vmm_device/virtio/net_device.h"

namespace clonesafe::virtio {

inline constexpr network::MacAddress kMac{{0x02, 0, 0, 0, 0, 1}};

// A frame as it travels: its header and its bytes.
struct Frame {
  net::Header header{};
  std::string bytes;
};
inline Frame frame_of(std::string bytes, net::Header header = {}) {
  // Ethernet's shortest header is longer than most texts here.
  bytes.resize(std::max<std::size_t>(bytes.size(), 14), '.');
  return {.header = header, .bytes = std::move(bytes)};
}
inline std::string padded(std::string bytes) {
  return frame_of(std::move(bytes)).bytes;
}

// A guest's network driver over a memory of its own. Plain data: a copy of it and of its memory is
// the guest of a clone.
class FakeNetGuest {
 public:
  static constexpr std::size_t kMemorySize = 0x300000;
  static constexpr std::uint64_t kRings = FakeMemory::kStart + 0x10000;
  static constexpr std::uint64_t kControl = FakeMemory::kStart + 0x18000;
  static constexpr std::uint64_t kReceive = FakeMemory::kStart + 0x20000;
  static constexpr std::uint64_t kReceiveStep = 0x1000;
  static constexpr std::uint64_t kSend = FakeMemory::kStart + 0x80000;
  static constexpr std::uint64_t kSendStep = 0x12000;
  static constexpr std::uint16_t kSlots = 32;

  FakeQueue& receive_queue() { return receive_; }
  FakeQueue& send_queue() { return send_; }
  FakeQueue& control_queue() { return control_; }

  void set_up(const FakeRegisters& registers, std::uint64_t features) const {
    registers.negotiate(kFeatureVersion1 | features);
    registers.set_up(0, receive_);
    registers.set_up(1, send_);
    if ((features & net::kFeatureControlQueue) != 0) registers.set_up(2, control_);
    registers.go();
  }
  void give_buffers(const GuestMemory& memory, int count, std::uint32_t size) {
    for (; count > 0; --count) {
      const std::uint64_t at = kReceive + kReceiveStep * (given_++ % 64);
      buffers_[receive_.add(memory, {{.address = at, .length = size, .writable = true}}) % 64] = at;
    }
  }
  // What came since the last call.
  std::vector<Frame> receive(const GuestMemory& memory) {
    std::vector<Frame> frames;
    while (const auto used = receive_.take_used(memory)) {
      const auto bytes = memory.at(GuestAddress(buffers_[used->id % 64]), used->length).value();
      Frame frame;
      std::memcpy(&frame.header, bytes.data(), sizeof frame.header);
      append(frame, bytes.subspan(sizeof frame.header));
      for (int more = frame.header.num_buffers; more > 1; --more) {
        const auto next = receive_.take_used(memory).value();
        append(frame, memory.at(GuestAddress(buffers_[next.id % 64]), next.length).value());
      }
      frames.push_back(std::move(frame));
    }
    return frames;
  }
  // Queues a frame; a guest that has no room for it is a broken test.
  void send(const GuestMemory& memory, const Frame& frame) {
    while (send_.take_used(memory)) ++done_;
    ASSERT_LT(sent_ - done_, std::uint32_t{kSlots});
    const std::uint64_t at = kSend + kSendStep * (sent_++ % kSlots);
    FakeQueue::put(memory, at, frame.header);
    std::memcpy(memory.at(GuestAddress(at + sizeof frame.header), frame.bytes.size())->data(),
                frame.bytes.data(), frame.bytes.size());
    // In two parts, of which the first ends in the frame's first bytes.
    const auto size = static_cast<std::uint32_t>(sizeof frame.header + frame.bytes.size());
    send_.add(memory, {{.address = at, .length = 16}, {.address = at + 16, .length = size - 16}});
  }
  // Sends that the device has not given back.
  std::uint32_t sending(const GuestMemory& memory) {
    while (send_.take_used(memory)) ++done_;
    return sent_ - done_;
  }

 private:
  static void append(Frame& frame, std::span<const std::byte> bytes) {
    frame.bytes.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  FakeQueue receive_{kRings, 64};
  FakeQueue send_{kRings + 0x2000, 64};
  FakeQueue control_{kRings + 0x4000, 64};
  std::uint64_t buffers_[64] = {};
  std::uint32_t given_ = 0;
  std::uint32_t sent_ = 0;
  std::uint32_t done_ = 0;
};

// A machine with a network device, whose tap is one end of a pair of sockets, or a given one.
struct NetMachine {
  explicit NetMachine(const NetOptions& options = {.mac = kMac},
                      const FakeMemory& from = FakeMemory(FakeNetGuest::kMemorySize))
      : NetMachine(options, from, std::nullopt) {}
  explicit NetMachine(network::Tap tap)
      : NetMachine({.mac = kMac}, FakeMemory(FakeNetGuest::kMemorySize), std::move(tap)) {}

  NetMachine(const NetOptions& options, const FakeMemory& from, std::optional<network::Tap> given)
      : bytes(from), memory(bytes.memory()) {
    network::Tap tap = given ? std::move(*given) : pair_of_sockets();
    device = NetDevice::create(io, "net 0", std::move(tap), options).value();
    transport = std::make_unique<MmioTransport>("net 0", memory, line, io, *device);
    registers = std::make_unique<FakeRegisters>(*transport);
  }
  network::Tap pair_of_sockets() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    host = UniqueFd(ends[1]);
    network::Tap tap{.fd = UniqueFd(ends[0]), .name = "t0", .mtu = 1400, .set_offloads = {}};
    tap.set_offloads = [this](const network::Offloads& wanted) -> Status {
      offloads = wanted;
      return {};
    };
    return tap;
  }

  static constexpr std::uint64_t kAll =
      net::kFeatureChecksum | net::kFeatureGuestChecksum | net::kFeatureMtu | net::kFeatureMac |
      net::kFeatureGuestTso4 | net::kFeatureHostTso4 | net::kFeatureHostTso6 |
      net::kFeatureMergeableBuffers | net::kFeatureStatus | net::kFeatureControlQueue |
      net::kFeatureGuestAnnounce;
  void start(std::uint64_t features = kAll, int buffers = 16, std::uint32_t size = 1536) {
    guest.set_up(*registers, features);
    guest.give_buffers(memory, buffers, size);
    poll();
  }
  void poll() {
    io.restart();
    io.poll();
  }
  void send(const Frame& frame) {
    guest.send(memory, frame);
    registers->notify(1);
    poll();
  }
  void send(const std::string& text) { send(frame_of(text)); }
  void give_buffers(int count, std::uint32_t size = 1536) {
    guest.give_buffers(memory, count, size);
    registers->notify(0);
    poll();
  }
  std::vector<Frame> receive() {
    poll();
    return guest.receive(memory);
  }
  // A frame from the network to the guest.
  void arrive(const Frame& frame) {
    const std::string all(std::string(reinterpret_cast<const char*>(&frame.header), 12) +
                          frame.bytes);
    ASSERT_EQ(::send(host.get(), all.data(), all.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(all.size()));
    poll();
  }
  void arrive(const std::string& text) { arrive(frame_of(text)); }
  // What the guest's next frame on the network is.
  std::optional<Frame> leave() {
    std::string all(70'000, '\0');
    const ssize_t size = ::recv(host.get(), all.data(), all.size(), MSG_DONTWAIT);
    if (size < 12) return std::nullopt;
    Frame frame{.header = {}, .bytes = all.substr(12, static_cast<std::size_t>(size) - 12)};
    std::memcpy(&frame.header, all.data(), 12);
    return frame;
  }
  std::vector<std::string> all_that_left() {
    std::vector<std::string> texts;
    while (auto frame = leave()) texts.push_back(frame->bytes);
    return texts;
  }
  bool needs_reset() const { return (registers->read(kRegisterStatus) & kStatusNeedsReset) != 0; }
  net::Config config() const {
    net::Config config{};
    transport->read(kRegisterConfig, std::as_writable_bytes(std::span(&config, 1)));
    return config;
  }
  // One command of the control queue; its answer, nothing if there is none.
  std::optional<std::uint8_t> control(const std::string& command, bool with_answer = true) {
    const std::uint64_t at = FakeNetGuest::kControl;
    std::memcpy(memory.at(GuestAddress(at), 64)->data(), command.data(), command.size());
    std::vector<Part> parts;
    if (!command.empty())
      parts.push_back({.address = at, .length = static_cast<std::uint32_t>(command.size())});
    if (with_answer) parts.push_back({.address = at + 64, .length = 1, .writable = true});
    guest.control_queue().add(memory, parts);
    registers->notify(2);
    poll();
    if (!guest.control_queue().take_used(memory)) return std::nullopt;
    return memory.read<std::uint8_t>(GuestAddress(at + 64)).value();
  }

  FakeMemory bytes;
  GuestMemory memory;
  CountingLine line;
  boost::asio::io_context io;
  network::Offloads offloads;
  UniqueFd host;
  std::unique_ptr<NetDevice> device;
  std::unique_ptr<MmioTransport> transport;
  std::unique_ptr<FakeRegisters> registers;
  FakeNetGuest guest;
};

// A restored machine with the guest of `source`, paused; `source` is paused meanwhile.
inline std::unique_ptr<NetMachine> restored_from(NetMachine& source, const NetOptions& options) {
  source.transport->pause();
  StateEncoder encoder;
  source.transport->save(encoder);
  auto clone = std::make_unique<NetMachine>(options, source.bytes);
  clone->guest = source.guest;
  StateDecoder decoder("net 0", encoder.bytes());
  const auto restored = clone->transport->restore(decoder);
  EXPECT_TRUE(restored) << restored.error().message();
  EXPECT_TRUE(decoder.finish());
  source.transport->resume();
  source.poll();
  return clone;
}

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_TESTS_UNIT_NET_NET_FIXTURE_H_
