// The transport, the queue and the entropy device, as a driver meets them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>

#include "tests/unit/virtio/fake_driver.h"
#include "vmm_device/virtio/rng_device.h"

namespace clonesafe::virtio {
namespace {

constexpr std::uint64_t kRing = FakeMemory::kStart + 0x10000;
constexpr std::uint64_t kBuffer = FakeMemory::kStart + 0x20000;
constexpr std::size_t kSize = 256 << 10;
constexpr std::uint64_t kEnd = FakeMemory::kStart + kSize;

// One machine with an entropy device.
struct RngMachine {
  explicit RngMachine(const FakeMemory& bytes) : memory(bytes.memory()) {}
  GuestMemory memory;
  CountingLine line;
  boost::asio::io_context io;
  RngDevice device;
  MmioTransport transport{"rng", memory, line, io, device};
  FakeRegisters registers{transport};

  void run() {
    io.restart();
    io.poll();
  }
};

class RngTest : public testing::Test {
 protected:
  void start() {
    machine_.registers.negotiate();
    machine_.registers.set_up(0, queue_);
    machine_.registers.go();
    machine_.run();
  }
  void notify() {
    machine_.registers.notify(0);
    machine_.run();
  }
  bool needs_reset() const {
    return (machine_.registers.read(kRegisterStatus) & kStatusNeedsReset) != 0;
  }
  std::span<std::byte> buffer(std::size_t size, std::uint64_t at = kBuffer) {
    return machine_.memory.at(GuestAddress(at), size).value();
  }
  static bool has_zero_run(std::span<const std::byte> bytes) {
    // 16 zero bytes in a row: 2^-128 for each place if they are random.
    int run = 0;
    for (std::byte byte : bytes) {
      run = byte == std::byte{0} ? run + 1 : 0;
      if (run == 16) return true;
    }
    return false;
  }

  FakeMemory bytes_{kSize};
  RngMachine machine_{bytes_};
  FakeQueue queue_{kRing, 64};
};

TEST_F(RngTest, ShowsItselfAsAModernEntropyDevice) {
  EXPECT_EQ(machine_.registers.read(kRegisterMagic), 0x74726976u);
  EXPECT_EQ(machine_.registers.read(kRegisterVersion), 2u);
  EXPECT_EQ(machine_.registers.read(kRegisterDeviceId), 4u);
  EXPECT_EQ(machine_.registers.read(kRegisterQueueSizeMax), 64u);
  machine_.registers.write(kRegisterDeviceFeaturesSelect, 1);
  EXPECT_EQ(machine_.registers.read(kRegisterDeviceFeatures), 1u);
  machine_.registers.write(kRegisterQueueSelect, 1);
  EXPECT_EQ(machine_.registers.read(kRegisterQueueSizeMax), 0u);
}

TEST_F(RngTest, FillsTheGuestsBufferAndInterrupts) {
  start();
  queue_.add(machine_.memory, {{.address = kBuffer, .length = 100, .writable = true},
                               {.address = kBuffer + 200, .length = 50, .writable = true}});
  notify();
  const auto used = queue_.take_used(machine_.memory);
  ASSERT_TRUE(used);
  EXPECT_EQ(used->length, 150u);
  EXPECT_FALSE(has_zero_run(buffer(100)));
  EXPECT_FALSE(has_zero_run(buffer(50, kBuffer + 200)));
  EXPECT_TRUE(has_zero_run(buffer(100, kBuffer + 100))) << "wrote outside the buffer";
  EXPECT_EQ(machine_.line.raised, 1);
  EXPECT_EQ(machine_.registers.read(kRegisterInterruptStatus), kInterruptQueue);
  machine_.registers.write(kRegisterInterruptAck, kInterruptQueue);
  EXPECT_EQ(machine_.registers.read(kRegisterInterruptStatus), 0u);
}

// What an incremental snapshot must have: the buffers and the used ring, whose second element here
// is in another page than its index; and after a new count of dirty pages no less.
TEST_F(RngTest, TellsWhichPagesItWrote) {
  PageSet written(kSize / PageSet::kPageSize);
  machine_.memory = GuestMemory(machine_.memory.regions(), &written);
  queue_ = FakeQueue(kRing + 0x7f0, 64);
  start();
  for (const std::uint64_t buffer : {kBuffer + 0xff0, kBuffer + 0x5000})
    queue_.add(machine_.memory, {{.address = buffer, .length = 32, .writable = true}});
  written.clear();
  notify();
  ASSERT_TRUE(queue_.take_used(machine_.memory) && queue_.take_used(machine_.memory));
  const auto page = [](std::uint64_t address) {
    return (address - FakeMemory::kStart) / PageSet::kPageSize;
  };
  EXPECT_EQ(written.count(), 5u);
  for (const std::uint64_t address :
       {kBuffer, kBuffer + 0x1000, kBuffer + 0x5000, queue_.used(), queue_.used() + 0x1000})
    EXPECT_TRUE(written.contains(page(address))) << std::hex << address;
}

TEST_F(RngTest, DoesNotInterruptADriverThatAskedForNone) {
  start();
  FakeQueue::put(machine_.memory, queue_.available(), kAvailNoInterrupt);
  queue_.add(machine_.memory, {{.address = kBuffer, .length = 16, .writable = true}});
  notify();
  EXPECT_TRUE(queue_.take_used(machine_.memory));
  EXPECT_EQ(machine_.line.raised, 0);
}

TEST_F(RngTest, AnswersAHugeRequestWithAPart) {
  start();
  queue_.add(machine_.memory, {{.address = kBuffer, .length = 100000, .writable = true}});
  notify();
  EXPECT_EQ(queue_.take_used(machine_.memory)->length, 4096u);
}

TEST_F(RngTest, AnswersMoreRequestsThanTheRingHasOverTime) {
  start();
  for (int round = 0; round < 10; ++round) {
    for (int request = 0; request < 64; ++request) {
      queue_.add(machine_.memory, {{.address = kBuffer, .length = 8, .writable = true}});
    }
    notify();
    for (int request = 0; request < 64; ++request) {
      ASSERT_TRUE(queue_.take_used(machine_.memory)) << round << ": " << request;
    }
  }
}

struct BadChain {
  const char* name;
  std::vector<Part> parts;
  const char* reason;
};
class BadChainTest : public RngTest, public testing::WithParamInterface<BadChain> {};

TEST_P(BadChainTest, NeedsAResetAndTouchesNothing) {
  start();
  std::fill(buffer(4096).begin(), buffer(4096).end(), std::byte{0x5a});
  queue_.add(machine_.memory, GetParam().parts);
  notify();
  EXPECT_TRUE(needs_reset());
  EXPECT_THAT(machine_.transport.last_error(), testing::HasSubstr(GetParam().reason));
  EXPECT_FALSE(queue_.take_used(machine_.memory));
  EXPECT_TRUE(std::ranges::all_of(buffer(4096), [](std::byte b) { return b == std::byte{0x5a}; }));
  EXPECT_EQ(machine_.registers.read(kRegisterInterruptStatus), kInterruptConfig);

  // And it works again after the reset.
  queue_ = FakeQueue(kRing, 64);
  std::ranges::fill(machine_.memory.at(GuestAddress(kRing), 0x2000).value(), std::byte{0});
  start();
  EXPECT_FALSE(needs_reset());
  queue_.add(machine_.memory, {{.address = kBuffer, .length = 16, .writable = true}});
  notify();
  EXPECT_TRUE(queue_.take_used(machine_.memory));
}

INSTANTIATE_TEST_SUITE_P(
    Queue, BadChainTest,
    testing::Values(
        BadChain{"Loop",
                 {{.address = kBuffer, .length = 8, .writable = true},
                  {.address = kBuffer, .length = 8, .writable = true, .next = 0}},
                 "is a loop"},
        BadChain{"SelfLoop",
                 {{.address = kBuffer, .length = 8, .writable = true, .next = 0}},
                 "is a loop"},
        BadChain{"NextOutside",
                 {{.address = kBuffer, .length = 8, .writable = true, .next = 64}},
                 "descriptor 64 in a queue of 64"},
        BadChain{"AddressOutside",
                 {{.address = kEnd, .length = 8, .writable = true}},
                 "no 8 bytes at 0x140000"},
        BadChain{
            "EndOutside", {{.address = kEnd - 8, .length = 9, .writable = true}}, "no 9 bytes"},
        BadChain{"SecondOutside",
                 {{.address = kBuffer, .length = 8, .writable = true},
                  {.address = 0, .length = 8, .writable = true}},
                 "no 8 bytes at 0x0"},
        BadChain{"AddressWraps",
                 {{.address = ~std::uint64_t{0}, .length = 0xffffffff, .writable = true}},
                 "guest memory"},
        BadChain{"LengthHuge",
                 {{.address = kBuffer, .length = 0xffffffff, .writable = true}},
                 "no 4294967295 bytes"},
        BadChain{"ReadableOnly", {{.address = kBuffer, .length = 8}}, "one writable buffer"},
        BadChain{"Empty", {{.address = kBuffer, .length = 0, .writable = true}}, "one writable"},
        BadChain{"ReadableAfterWritable",
                 {{.address = kBuffer, .length = 8, .writable = true},
                  {.address = kBuffer, .length = 8}},
                 "readable after writable"},
        BadChain{"Indirect",
                 {{.address = kBuffer, .length = 16, .extra_flags = kDescriptorIndirect}},
                 "indirect"}),
    [](const auto& test) { return test.param.name; });

TEST_F(RngTest, HeadOutsideTheTableNeedsAReset) {
  start();
  queue_.publish(machine_.memory, 64);
  notify();
  EXPECT_TRUE(needs_reset());
}

TEST_F(RngTest, AvailableIndexThatJumpsNeedsAReset) {
  start();
  FakeQueue::put(machine_.memory, queue_.available() + 2, std::uint16_t{65});
  notify();
  EXPECT_TRUE(needs_reset());
  EXPECT_THAT(machine_.transport.last_error(), testing::HasSubstr("65 ahead in a queue of 64"));
}

TEST_F(RngTest, QueueOutsideMemoryIsRefused) {
  machine_.registers.negotiate();
  machine_.registers.set_up(0, FakeQueue(kEnd - 0x800, 64));
  EXPECT_EQ(machine_.registers.read(kRegisterQueueReady), 0u);
  EXPECT_TRUE(needs_reset());
}

TEST_F(RngTest, QueueWithABadSizeOrAlignmentIsRefused) {
  for (const FakeQueue& queue : {FakeQueue(kRing, 0), FakeQueue(kRing, 48), FakeQueue(kRing, 128),
                                 FakeQueue(kRing + 1, 64)}) {
    machine_.registers.negotiate();
    machine_.registers.set_up(0, queue);
    EXPECT_EQ(machine_.registers.read(kRegisterQueueReady), 0u) << queue.size();
    EXPECT_TRUE(needs_reset());
  }
}

TEST_F(RngTest, FeaturesThatWereNotOfferedAreRefused) {
  machine_.registers.negotiate(kFeatureVersion1 | 1);
  EXPECT_EQ(machine_.registers.read(kRegisterStatus) & kStatusFeaturesOk, 0u);
  machine_.registers.go();
  machine_.run();
  EXPECT_EQ(machine_.registers.read(kRegisterStatus) & kStatusDriverOk, 0u);
}

TEST_F(RngTest, LegacyDriversAreRefused) {
  machine_.registers.negotiate(0);
  EXPECT_EQ(machine_.registers.read(kRegisterStatus) & kStatusFeaturesOk, 0u);
}

TEST_F(RngTest, DriverThatSetUpNoQueueNeedsAReset) {
  machine_.registers.negotiate();
  machine_.registers.go();
  machine_.run();
  EXPECT_TRUE(needs_reset());
}

TEST_F(RngTest, NothingIsTouchedAfterAReset) {
  start();
  queue_.add(machine_.memory, {{.address = kBuffer, .length = 16, .writable = true}});
  machine_.registers.notify(0);
  machine_.registers.write(kRegisterStatus, 0);
  machine_.run();
  EXPECT_FALSE(queue_.take_used(machine_.memory));
  EXPECT_EQ(machine_.registers.read(kRegisterStatus), 0u);
  EXPECT_EQ(machine_.registers.read(kRegisterQueueReady), 0u);
}

TEST_F(RngTest, QueueTakenAwayWhileInUseNeedsAReset) {
  start();
  machine_.registers.write(kRegisterQueueSelect, 0);
  machine_.registers.write(kRegisterQueueReady, 0);
  EXPECT_TRUE(needs_reset());
  queue_.add(machine_.memory, {{.address = kBuffer, .length = 16, .writable = true}});
  notify();
  EXPECT_FALSE(queue_.take_used(machine_.memory));
}

TEST_F(RngTest, OddAccessesAreIgnored) {
  std::array<std::byte, 8> data{};
  std::ranges::fill(data, std::byte{0xff});
  for (const std::size_t size : {1u, 2u, 8u}) {
    machine_.transport.read(0, std::span(data).first(size));
    machine_.transport.write(kRegisterStatus, std::span(data).first(size));
  }
  machine_.transport.read(2, std::span(data).first(4));
  machine_.transport.read(0x100, std::span(data).first(4));
  machine_.transport.read(0xff8, data);
  EXPECT_TRUE(std::ranges::all_of(data, [](std::byte b) { return b == std::byte{0xff}; }));
  EXPECT_EQ(machine_.registers.read(kRegisterStatus), 0u);
}

TEST_F(RngTest, PausedDeviceTouchesNothingAndGoesOnWithoutANotification) {
  start();
  machine_.transport.pause();
  queue_.add(machine_.memory, {{.address = kBuffer, .length = 16, .writable = true}});
  notify();
  EXPECT_FALSE(queue_.take_used(machine_.memory));
  machine_.transport.resume();
  machine_.run();
  EXPECT_TRUE(queue_.take_used(machine_.memory));
}

TEST_F(RngTest, RestoredDeviceAnswersWhatWasAskedBeforeAndDiffersFromItsSource) {
  start();
  for (int request = 0; request < 70; ++request) {
    queue_.add(machine_.memory, {{.address = kBuffer, .length = 16, .writable = true}});
    notify();
    ASSERT_TRUE(queue_.take_used(machine_.memory));
  }
  // A request that the device hasn't seen when the snapshot is taken.
  queue_.add(machine_.memory, {{.address = kBuffer + 64, .length = 32, .writable = true}});
  machine_.transport.pause();
  StateEncoder encoder;
  machine_.transport.save(encoder);
  const FakeMemory clone_bytes(bytes_);
  FakeQueue clone_queue = queue_;

  RngMachine clone(clone_bytes);
  StateDecoder decoder("rng", encoder.bytes());
  ASSERT_TRUE(clone.transport.restore(decoder));
  ASSERT_TRUE(decoder.finish());
  clone.run();
  EXPECT_FALSE(clone_queue.take_used(clone.memory)) << "ran before it was resumed";
  clone.transport.resume();
  clone.run();
  machine_.transport.resume();
  machine_.run();

  const auto used = clone_queue.take_used(clone.memory);
  ASSERT_TRUE(used);
  EXPECT_EQ(used->length, 32u);
  ASSERT_TRUE(queue_.take_used(machine_.memory));
  const auto in_clone = clone.memory.at(GuestAddress(kBuffer + 64), 32).value();
  EXPECT_FALSE(std::ranges::equal(in_clone, buffer(32, kBuffer + 64)));
  EXPECT_GE(clone.line.raised, 1);
}

TEST_F(RngTest, StateOfAnyLengthCutOrFlippedIsAnErrorOrHarmless) {
  start();
  machine_.transport.pause();
  StateEncoder encoder;
  machine_.transport.save(encoder);
  for (std::size_t length = 0; length < encoder.bytes().size(); ++length) {
    RngMachine clone(bytes_);
    StateDecoder decoder("rng", std::span(encoder.bytes()).first(length));
    EXPECT_FALSE(clone.transport.restore(decoder)) << length;
  }
  for (std::size_t bit = 0; bit < encoder.bytes().size() * 8; ++bit) {
    auto state = encoder.bytes();
    state[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    const FakeMemory copy(bytes_);
    RngMachine clone(copy);
    StateDecoder decoder("rng", state);
    if (!clone.transport.restore(decoder)) continue;
    clone.transport.resume();
    clone.run();
  }
}

}  // namespace
}  // namespace clonesafe::virtio
