// The threads that meet in a transport: vCPUs at its registers, the device thread, and whoever
// takes a snapshot. What they break, ThreadSanitizer sees; the test itself sees that all of them
// end.
#include <gtest/gtest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <thread>

#include "tests/unit/virtio/fake_driver.h"
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

void run_all(boost::asio::io_context& io, VirtioDevice& device, std::uint32_t queues) {
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

}  // namespace
}  // namespace clonesafe::virtio
