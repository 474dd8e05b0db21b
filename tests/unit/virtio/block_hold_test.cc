// The block device while its flushes are held.
#include <thread>

#include "tests/unit/virtio/block_fixture.h"

namespace clonesafe::virtio {
namespace {

class BlockHoldTest : public BlockDeviceTest {
 protected:
  void make_held() {
    make(in_place());
    device_->hold_flushes();
  }
  std::vector<Part> sector(bool writable) const {
    return {{.address = kData, .length = 512, .writable = writable}};
  }
  // One whose header stays as it is while others are made.
  void add_flush() {
    constexpr std::uint64_t kOwnHeader = kHeader + 0x100;
    put_header(static_cast<std::uint32_t>(RequestType::kFlush), 0, kOwnHeader);
    queue_.add(memory_, {{.address = kOwnHeader, .length = 16},
                         {.address = kStatus, .length = 1, .writable = true}});
  }
  bool answered() { return queue_.take_used(memory_).has_value(); }
  void pause_and_expect_waiting(bool waiting) {
    transport_->pause();
    EXPECT_EQ(device_->flush_waits(), waiting);
    transport_->resume();
    run();
  }
};

TEST_F(BlockHoldTest, FlushesWaitAndOtherRequestsDoNot) {
  make_held();
  go();
  add_flush();
  notify();
  EXPECT_FALSE(answered());
  pause_and_expect_waiting(true);
  EXPECT_EQ(device_->counts().flushes, 0u);
  EXPECT_EQ(device_->counts().held, 1u);
  put_guest(kData, pattern(1, 'W'));
  EXPECT_EQ(request(RequestType::kOut, 3, sector(false)), 0);
  EXPECT_EQ(request(RequestType::kIn, 3, sector(true)), 0);
  EXPECT_EQ(guest(kData, 512), pattern(1, 'W'));

  // At the end of the hold they are done, once, and later ones don't wait.
  device_->release();
  EXPECT_TRUE(answered());
  EXPECT_EQ(device_->counts().flushes, 1u);
  EXPECT_EQ(request(RequestType::kFlush, 0), 0);
  EXPECT_EQ(device_->counts().held, 1u);
  pause_and_expect_waiting(false);
}

TEST_F(BlockHoldTest, WithoutAHoldNothingWaits) {
  make(in_place());
  go();
  EXPECT_EQ(request(RequestType::kFlush, 0), 0);
  EXPECT_EQ(device_->counts().held, 0u);
}

// 5.2.6.2: for a driver that knows of no flush each write is one.
TEST_F(BlockHoldTest, WritesWaitOfADriverWithoutFlush) {
  make_held();
  go(kFeatureVersion1);
  const std::string before = contents(path("image"));
  put_guest(kData, pattern(1, 'W'));
  add(RequestType::kOut, 3, sector(false));
  notify();
  EXPECT_FALSE(answered());
  EXPECT_EQ(contents(path("image")), before);
  device_->release();
  EXPECT_TRUE(answered());
  EXPECT_EQ(contents(path("image")).substr(3 * 512, 512), pattern(1, 'W'));
}

TEST_F(BlockHoldTest, WhatWaitsIsTheDriversAgainAfterItsReset) {
  make_held();
  go();
  add(RequestType::kFlush, 0, {});
  notify();
  registers_->write(kRegisterStatus, 0);
  const std::string memory = guest(FakeMemory::kStart, kMemorySize);
  device_->release();
  run();
  EXPECT_EQ(guest(FakeMemory::kStart, kMemorySize), memory);
  EXPECT_EQ(device_->counts().flushes, 0u);
  pause_and_expect_waiting(false);
}

// More than a batch, by a thread of its own.
TEST_F(BlockHoldTest, AWholeRingOfFlushesIsDoneInOrder) {
  make_held();
  ASSERT_TRUE(device_->start({}));
  go();
  put_header(static_cast<std::uint32_t>(RequestType::kFlush), 0);
  std::vector<std::uint16_t> heads;
  for (int i = 0; i < 31; ++i)
    heads.push_back(queue_.add(memory_, {{.address = kHeader, .length = 16},
                                         {.address = kStatus, .length = 1, .writable = true}}));
  registers_->notify(0);
  while (device_->counts().held < heads.size()) std::this_thread::yield();
  EXPECT_FALSE(answered());
  device_->release();
  for (const std::uint16_t head : heads) {
    std::optional<UsedElement> used;
    while (!(used = queue_.take_used(memory_))) std::this_thread::yield();
    EXPECT_EQ(used->id, head);
  }
  EXPECT_EQ(device_->counts().flushes, heads.size());
}

}  // namespace
}  // namespace clonesafe::virtio
