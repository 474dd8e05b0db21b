// The block device's own thread: pauses, resets and snapshots while requests are in flight.
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <thread>

#include "tests/unit/virtio/block_fixture.h"

namespace clonesafe::virtio {
namespace {

class BlockThreadTest : public BlockDeviceTest {
 protected:
  void start() {
    ASSERT_TRUE(device_->start({}));
    io_.restart();
    device_thread_ = std::thread([this] {
      const auto work = boost::asio::make_work_guard(io_);
      io_.run();
    });
  }
  // Both threads end: what they use may be destroyed.
  void stop() {
    if (device_) device_->end();
    io_.stop();
    if (device_thread_.joinable()) device_thread_.join();
    // What was posted to the transport is not left for the one that comes after it.
    io_.restart();
    io_.poll();
  }
  ~BlockThreadTest() override { stop(); }
  void begin() {
    registers_->negotiate(kDriverFeatures);
    registers_->set_up(0, queue_);
    registers_->go();
  }
  // `count` writes, each of one letter to the sector of its number.
  void add_writes(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      FakeQueue::put(memory_, kHeader + 16 * i, blk::RequestHeader{1, 0, i});
      put_guest(kData + 512 * i, pattern(1, static_cast<char>('A' + i)));
      queue_.add(memory_, {{.address = kHeader + 16 * i, .length = 16},
                           {.address = kData + 512 * i, .length = 512},
                           {.address = kStatus, .length = 1, .writable = true}});
    }
  }
  std::size_t answered() {
    std::size_t count = 0;
    while (queue_.take_used(memory_)) ++count;
    return count;
  }
  std::thread device_thread_;
};

TEST_F(BlockThreadTest, AnErrorOfItsThreadIsTheStarters) {
  make(in_place());
  const auto started = device_->start([](const std::string& name) { return fail(name + ": no"); });
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message(), "disk 0: no");
}

// Its thread hears the doorbell itself.
TEST_F(BlockThreadTest, ASignalOfItsEventIsANotification) {
  make(in_place());
  EXPECT_EQ(device_->notification_event(), -1) << "nobody would hear it";
  start();
  begin();
  add_writes(1);
  while (device_->counts().writes == 0) {
    // Again, for the driver may not be ready yet.
    const std::uint64_t once = 1;
    ASSERT_EQ(::write(device_->notification_event(), &once, sizeof once), 8);
    std::this_thread::yield();
  }
  transport_->pause();
  EXPECT_EQ(answered(), 1u);
}

// KVM's part.
class FakeDoorbell final : public Doorbell {
 public:
  Status connect(std::uint32_t value, int event) override {
    ++asked;
    if (refuses || value != 0) return fail("none left");
    event_ = event;
    return {};
  }
  void ring() const {
    const std::uint64_t once = 1;
    ASSERT_EQ(::write(event_, &once, sizeof once), 8);
  }
  bool connected() const { return event_ >= 0; }
  bool refuses = false;
  std::atomic<int> asked = 0;

 private:
  std::atomic<int> event_ = -1;
};

class DoorbellTest : public BlockThreadTest {
 protected:
  void start_with_doorbell() {
    make(in_place());
    transport_->use_doorbell(doorbell_);
    start();
    begin();
  }
  // A write that the device is told of, done.
  void write(bool through_doorbell = false) {
    const std::uint64_t before = device_->counts().writes;
    add_writes(1);
    if (through_doorbell)
      doorbell_.ring();
    else
      registers_->notify(0);
    while (device_->counts().writes == before) std::this_thread::yield();
  }
  FakeDoorbell doorbell_;
};

TEST_F(DoorbellTest, ADiskThatIsNotifiedOftenGetsADoorbell) {
  start_with_doorbell();
  for (int round = 0; round < 15; ++round) write();
  EXPECT_EQ(doorbell_.asked, 0) << "a clone pays for it at once";
  write();
  while (!doorbell_.connected()) std::this_thread::yield();
  for (int round = 0; round < 3; ++round) write(true);
}

TEST_F(DoorbellTest, ASignalToADiskThatIsPausedOrResetIsNotLost) {
  start_with_doorbell();
  for (int round = 0; round < 16; ++round) write();
  while (!doorbell_.connected()) std::this_thread::yield();
  transport_->pause();
  add_writes(1);
  doorbell_.ring();
  EXPECT_EQ(device_->counts().writes, 16u);
  transport_->resume();
  while (device_->counts().writes != 17) std::this_thread::yield();
  registers_->write(kRegisterStatus, 0);
  doorbell_.ring();
  queue_ = FakeQueue(kRing, 64);
  std::memset(bytes_.bytes().data(), 0, 0x3000);
  add_writes(1);
  begin();
  while (device_->counts().writes != 18) std::this_thread::yield();
  EXPECT_EQ(doorbell_.asked, 1);
}

TEST_F(DoorbellTest, WithoutADoorbellTheRegisterIsEnough) {
  doorbell_.refuses = true;
  start_with_doorbell();
  for (int round = 0; round < 50; ++round) write();
  while (doorbell_.asked == 0) std::this_thread::yield();
  write();
  EXPECT_EQ(doorbell_.asked, 1);
}

// Requests are done or still in the queue when a pause has returned, and none is done twice: the
// snapshot's copy of the ring and of the device's indexes agree, and the restored device does the
// rest.
TEST_F(BlockThreadTest, ASnapshotHasNoRequestInFlight) {
  make_file("base", pattern(64));
  for (int round = 0; round < 50; ++round) {
    std::filesystem::remove(path("layer"));
    queue_ = FakeQueue(kRing, 64);
    std::memset(bytes_.bytes().data(), 0, 0x3000);
    // The ring is full before the device may look at it.
    add_writes(20);
    make(layered(path("base"), path("layer")));
    start();
    begin();
    registers_->notify(0);
    transport_->pause();
    StateEncoder state;
    transport_->save(state);
    const std::size_t done = answered();
    const std::uint64_t clusters = device_->disk().layers().back().count();
    EXPECT_EQ(device_->counts().writes, done) << "a request is in flight";
    EXPECT_GE(clusters * 8 + 7, done);
    stop();

    // The clone: the same memory, the same disk.
    auto clone = std::make_unique<BlockDevice>(
        "disk 0",
        Disk(DiskImage::open(make_file("clone", all(device_->disk())), Lock::kExclusive).value(),
             false),
        "");
    transport_.reset();
    device_ = std::move(clone);
    transport_ = std::make_unique<MmioTransport>("disk 0", memory_, line_, io_, *device_);
    registers_ = std::make_unique<FakeRegisters>(*transport_);
    const auto bytes = state.take();
    StateDecoder decoder("disk 0", bytes);
    ASSERT_TRUE(transport_->restore(decoder));
    start();
    transport_->resume();
    while (device_->counts().writes < 20 - done) std::this_thread::yield();
    transport_->pause();
    EXPECT_EQ(answered(), 20 - done);
    EXPECT_EQ(device_->counts().writes, 20 - done) << "done twice, or lost";
    EXPECT_EQ(contents(path("clone")).substr(0, 20 * 512), [] {
      std::string expected;
      for (int i = 0; i < 20; ++i) expected += pattern(1, static_cast<char>('A' + i));
      return expected;
    }());
    stop();
    transport_.reset();
  }
}

// A driver that has written 0 to Status may use its memory at once.
TEST_F(BlockThreadTest, AResetWaitsForWhatIsInFlight) {
  make(in_place());
  start();
  for (int round = 0; round < 100; ++round) {
    queue_ = FakeQueue(kRing, 64);
    std::memset(bytes_.bytes().data(), 0, 0x3000);
    add_writes(20);
    begin();
    registers_->notify(0);
    registers_->write(kRegisterStatus, 0);
    const std::uint64_t written = device_->counts().writes;
    const std::string memory = guest(FakeMemory::kStart, kMemorySize);
    std::this_thread::yield();
    EXPECT_EQ(guest(FakeMemory::kStart, kMemorySize), memory);
    EXPECT_EQ(device_->counts().writes, written);
  }
}

TEST_F(BlockThreadTest, PausesAndResetsFromSeveralThreadsEnd) {
  make(in_place());
  start();
  begin();
  std::thread driver([&] {
    for (int round = 0; round < 200; ++round) {
      registers_->notify(0);
      if (round % 5 == 0) begin();
    }
  });
  for (int round = 0; round < 200; ++round) {
    transport_->pause();
    StateEncoder state;
    transport_->save(state);
    transport_->resume();
  }
  driver.join();
}

}  // namespace
}  // namespace clonesafe::virtio
