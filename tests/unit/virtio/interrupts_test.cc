// How often a driver is interrupted.
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>

#include "tests/unit/virtio/fake_driver.h"
#include "vmm_device/virtio/rng_device.h"

namespace clonesafe::virtio {
namespace {

constexpr std::uint64_t kInterruptsRing = FakeMemory::kStart;
constexpr std::uint64_t kInterruptsBuffer = FakeMemory::kStart + 0x4000;

class InterruptsTest : public testing::Test {
 protected:
  InterruptsTest() {
    registers_.negotiate();
    registers_.set_up(0, queue_);
    registers_.go();
    run();
  }
  void run() {
    io_.restart();
    io_.poll();
  }
  void add() {
    queue_.add(memory_, {{.address = kInterruptsBuffer, .length = 16, .writable = true}});
  }
  bool answered() { return queue_.take_used(memory_).has_value(); }
  // Through the register.
  bool answers_a_write() {
    add();
    registers_.notify(0);
    run();
    return answered();
  }

  const FakeMemory bytes_{64 << 10};
  const GuestMemory memory_ = bytes_.memory();
  FakeQueue queue_{kInterruptsRing, 64};
  CountingLine line_;
  boost::asio::io_context io_;
  RngDevice device_;
  MmioTransport transport_{"rng", memory_, line_, io_, device_};
  const FakeRegisters registers_{transport_};
};

// The driver looks at its rings after it acknowledged, so one edge is enough for all until then.
TEST_F(InterruptsTest, AnEdgeIsEnoughUntilItIsAcknowledged) {
  EXPECT_TRUE(answers_a_write());
  EXPECT_TRUE(answers_a_write());
  EXPECT_EQ(line_.raised, 1);
  registers_.write(kRegisterInterruptAck, kInterruptQueue);
  EXPECT_EQ(line_.raised, 1);
  EXPECT_TRUE(answers_a_write());
  EXPECT_EQ(line_.raised, 2);
}

TEST_F(InterruptsTest, ACauseThatCameAfterTheDriverLookedGetsAnEdgeOfItsOwn) {
  EXPECT_TRUE(answers_a_write());
  const std::uint32_t seen = registers_.read(kRegisterInterruptStatus);
  // Breaks the rules, which the driver is told by a configuration change.
  queue_.publish(memory_, 1000);
  registers_.notify(0);
  run();
  EXPECT_EQ(line_.raised, 1);
  registers_.write(kRegisterInterruptAck, seen);
  EXPECT_EQ(registers_.read(kRegisterInterruptStatus), kInterruptConfig);
  EXPECT_EQ(line_.raised, 2) << "nobody tells the driver of the other cause";
}

}  // namespace
}  // namespace clonesafe::virtio
