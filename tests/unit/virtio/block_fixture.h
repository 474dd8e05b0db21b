#ifndef CLONESAFE_TESTS_UNIT_VIRTIO_BLOCK_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_VIRTIO_BLOCK_FIXTURE_H_

#include <boost/asio/io_context.hpp>
#include <memory>

#include "tests/unit/block/fixture.h"
#include "tests/unit/virtio/fake_driver.h"
#include "vmm_device/virtio/block_device.h"

namespace clonesafe::virtio {

using blk::RequestStatus;
using blk::RequestType;

inline constexpr std::uint64_t kRing = FakeMemory::kStart;
inline constexpr std::uint64_t kHeader = FakeMemory::kStart + 0x3000;
inline constexpr std::uint64_t kStatus = FakeMemory::kStart + 0x3800;
inline constexpr std::uint64_t kData = FakeMemory::kStart + 0x4000;
inline constexpr std::size_t kMemorySize = 256 << 10;
inline constexpr std::uint64_t kDriverFeatures =
    kFeatureVersion1 | blk::kFeatureFlush | blk::kFeatureDiscard | blk::kFeatureWriteZeroes;

// A driver with one request at a time, whose thread is the test's unless start() was called.
class BlockDeviceTest : public clonesafe::block::BlockTest {
 protected:
  using Disk = clonesafe::block::Disk;
  using DiskImage = clonesafe::block::DiskImage;
  using Lock = clonesafe::block::Lock;

  ~BlockDeviceTest() override {
    if (device_) device_->end();
  }

  Disk in_place(bool read_only = false) {
    make_file("image", pattern(64));
    return Disk(
        DiskImage::open(path("image"), read_only ? Lock::kShared : Lock::kExclusive).value(),
        read_only);
  }
  void make(Disk disk, std::string serial = "serial-0") {
    device_ = std::make_unique<BlockDevice>("disk 0", std::move(disk), std::move(serial));
    transport_ = std::make_unique<MmioTransport>("disk 0", memory_, line_, io_, *device_);
    registers_ = std::make_unique<FakeRegisters>(*transport_);
  }
  void go(std::uint64_t features = kDriverFeatures) {
    registers_->negotiate(features);
    registers_->set_up(0, queue_);
    registers_->go();
    run();
  }
  void run() {
    io_.restart();
    io_.poll();
  }
  void notify() {
    registers_->notify(0);
    run();
  }
  bool needs_reset() const { return (registers_->read(kRegisterStatus) & kStatusNeedsReset) != 0; }

  void put_header(std::uint32_t type, std::uint64_t sector, std::uint64_t at = kHeader) {
    FakeQueue::put(memory_, at, blk::RequestHeader{type, 0, sector});
    FakeQueue::put(memory_, kStatus, std::uint8_t{0xff});
  }
  void add(RequestType type, std::uint64_t sector, const std::vector<Part>& data) {
    put_header(static_cast<std::uint32_t>(type), sector);
    std::vector<Part> parts{{.address = kHeader, .length = 16}};
    parts.insert(parts.end(), data.begin(), data.end());
    parts.push_back({.address = kStatus, .length = 1, .writable = true});
    queue_.add(memory_, parts);
  }
  std::uint8_t status() const { return memory_.read<std::uint8_t>(GuestAddress(kStatus)).value(); }
  // One request from its descriptors to its status.
  std::uint8_t request(RequestType type, std::uint64_t sector, const std::vector<Part>& data = {}) {
    add(type, sector, data);
    notify();
    used_ = queue_.take_used(memory_);
    EXPECT_TRUE(used_) << "not answered";
    return status();
  }
  std::string guest(std::uint64_t address, std::size_t size) const {
    const auto bytes = memory_.at(GuestAddress(address), size).value();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  void put_guest(std::uint64_t address, const std::string& bytes) {
    std::memcpy(memory_.at(GuestAddress(address), bytes.size())->data(), bytes.data(),
                bytes.size());
  }

  FakeMemory bytes_{kMemorySize};
  GuestMemory memory_ = bytes_.memory();
  CountingLine line_;
  boost::asio::io_context io_;
  std::unique_ptr<BlockDevice> device_;
  std::unique_ptr<MmioTransport> transport_;
  std::unique_ptr<FakeRegisters> registers_;
  FakeQueue queue_{kRing, 64};
  std::optional<UsedElement> used_;
};

inline constexpr std::uint8_t kOk = 0, kIoError = 1, kUnsupported = 2;

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_TESTS_UNIT_VIRTIO_BLOCK_FIXTURE_H_
