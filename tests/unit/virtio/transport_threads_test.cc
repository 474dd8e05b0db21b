// The threads that meet in a transport: vCPUs at its registers, the device thread, and whoever
// takes a snapshot. What they break, ThreadSanitizer sees; the test itself sees that all of them
// end.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <thread>

#include "tests/unit/virtio/fake_driver.h"
#include "vmm_device/virtio/net_device.h"
#include "vmm_device/virtio/rng_device.h"
#include "vmm_device/virtio/vsock_device.h"

namespace clonesafe::virtio {
namespace {

constexpr int kRounds = 200;
constexpr std::uint64_t kRings = FakeMemory::kStart;
constexpr std::uint64_t kRingSpace = 0x2000;
constexpr std::size_t kMemorySize = 64 << 10;

void start_and_reset(const FakeRegisters& registers, std::uint32_t queues) {
  for (int round = 0; round < kRounds; ++round) {
    registers.negotiate();
    for (std::uint32_t index = 0; index < queues; ++index) {
      registers.set_up(index, FakeQueue(kRings + kRingSpace * index, 64));
    }
    registers.go();
    for (std::uint32_t index = 0; index < queues; ++index) registers.notify(index);
  }
}

void acknowledge(const FakeRegisters& registers) {
  for (int round = 0; round < kRounds; ++round) {
    registers.read(kRegisterStatus);
    registers.write(kRegisterInterruptAck, registers.read(kRegisterInterruptStatus));
    registers.read(kRegisterConfig);
  }
}

void take_snapshots(MmioTransport& transport) {
  for (int round = 0; round < kRounds; ++round) {
    transport.pause();
    StateEncoder encoder;
    transport.save(encoder);
    transport.resume();
  }
}

void run_all(boost::asio::io_context& io, VirtioDevice& device, std::uint32_t queues,
             const std::function<void()>& end = {}) {
  const FakeMemory bytes(kMemorySize);
  const GuestMemory memory = bytes.memory();
  CountingLine line;
  MmioTransport transport("device", memory, line, io, device);
  const FakeRegisters registers(transport);
  auto work = boost::asio::make_work_guard(io);
  std::thread device_thread([&] { io.run(); });
  std::thread driver([&] { start_and_reset(registers, queues); });
  std::thread other_cpu([&] { acknowledge(registers); });
  take_snapshots(transport);
  driver.join();
  other_cpu.join();
  if (end) end();
  work.reset();
  device_thread.join();
  EXPECT_EQ(transport.last_error(), "");
  EXPECT_EQ(registers.read(kRegisterStatus) & kStatusDriverOk, kStatusDriverOk);
}

TEST(TransportThreads, EntropyDevice) {
  boost::asio::io_context io;
  RngDevice device;
  run_all(io, device, 1);
}

TEST(TransportThreads, SocketDevice) {
  boost::asio::io_context io;
  const auto device = VsockDevice::create(io, {.guest_cid = 3}).value();
  run_all(io, *device, 3);
}

TEST(TransportThreads, NetworkDevice) {
  boost::asio::io_context io;
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd host(ends[1]);
  const auto device = NetDevice::create(io, "net 0",
                                        {.fd = UniqueFd(ends[0]),
                                         .name = "t0",
                                         .set_offloads = [](const auto&) { return Status(); }},
                                        {.mac = {{{2, 0, 0, 0, 0, 1}}}, .hold = true})
                          .value();
  std::thread sender([&] {
    const char frame[64] = {};
    for (int round = 0; round < kRounds; ++round) {
      static_cast<void>(::send(host.get(), frame, sizeof frame, MSG_NOSIGNAL));
      static_cast<void>(device->counts());
      if (round == kRounds / 2) boost::asio::post(io, [&] { device->release(); });
    }
  });
  // With its other end closed the device has nothing more to wait for.
  run_all(io, *device, 3, [&] {
    sender.join();
    host.reset();
  });
  EXPECT_FALSE(device->held());
}

}  // namespace
}  // namespace clonesafe::virtio
