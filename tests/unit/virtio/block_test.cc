// The block device, as a driver meets it.
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <sstream>

#include "tests/unit/virtio/block_fixture.h"

namespace clonesafe::virtio {
namespace {

using testing::HasSubstr;

TEST_F(BlockDeviceTest, ShowsItsSizeAndWhatItCanDo) {
  make(in_place());
  EXPECT_EQ(registers_->read(kRegisterDeviceId), 2u);
  EXPECT_EQ(registers_->read(kRegisterConfig), 64u) << "sectors";
  EXPECT_EQ(registers_->read(kRegisterConfig + 20), 512u);
  registers_->write(kRegisterDeviceFeaturesSelect, 0);
  const std::uint32_t features = registers_->read(kRegisterDeviceFeatures);
  EXPECT_NE(features & blk::kFeatureFlush, 0u);
  EXPECT_NE(features & blk::kFeatureDiscard, 0u);
  EXPECT_EQ(features & blk::kFeatureReadOnly, 0u);
}

TEST_F(BlockDeviceTest, ReadsIntoBuffersOfAnySize) {
  make(in_place());
  go();
  EXPECT_EQ(request(RequestType::kIn, 3,
                    {{.address = kData, .length = 700, .writable = true},
                     {.address = kData + 0x2000, .length = 324, .writable = true}}),
            kOk);
  EXPECT_EQ(used_->length, 1025u);
  EXPECT_EQ(guest(kData, 700) + guest(kData + 0x2000, 324), pattern(64).substr(3 * 512, 1024));
  EXPECT_EQ(guest(kData + 700, 1), std::string(1, '\0')) << "wrote outside the buffer";
  EXPECT_EQ(line_.raised, 1);
}

// Any framing of the message is a request (2.7.4.1): the header cut in two, the status behind the
// data in one buffer.
TEST_F(BlockDeviceTest, TakesHeaderDataAndStatusHoweverTheyAreCut) {
  make(in_place());
  go();
  put_header(0, 5);
  queue_.add(memory_, {{.address = kHeader, .length = 7},
                       {.address = kHeader + 7, .length = 9},
                       {.address = kData, .length = 513, .writable = true}});
  notify();
  ASSERT_TRUE(queue_.take_used(memory_));
  EXPECT_EQ(guest(kData, 512), pattern(64).substr(5 * 512, 512));
  EXPECT_EQ(guest(kData + 512, 1), std::string(1, '\0'));
  put_guest(kData, std::string(1, '\0'));
  FakeQueue::put(memory_, kData, blk::RequestHeader{1, 0, 6});
  put_guest(kData + 16, pattern(1, 'X'));
  FakeQueue::put(memory_, kStatus, std::uint8_t{0xff});
  queue_.add(memory_, {{.address = kData, .length = 16 + 512},
                       {.address = kStatus, .length = 1, .writable = true}});
  notify();
  EXPECT_EQ(status(), kOk);
  EXPECT_EQ(contents(path("image")).substr(6 * 512, 512), pattern(1, 'X'));
}

TEST_F(BlockDeviceTest, WritesAndFlushes) {
  make(in_place());
  go();
  put_guest(kData, pattern(4, 'X'));
  EXPECT_EQ(request(RequestType::kOut, 60, {{.address = kData, .length = 2048}}), kOk);
  EXPECT_EQ(request(RequestType::kFlush, 0), kOk);
  EXPECT_EQ(contents(path("image")).substr(60 * 512), pattern(4, 'X'));
  const BlockCounts counts = device_->counts();
  EXPECT_EQ(counts.writes, 1u);
  EXPECT_EQ(counts.written_bytes, 2048u);
  EXPECT_EQ(counts.flushes, 1u);
  EXPECT_EQ(counts.errors, 0u);
}

// A layer's map is on the disk after a flush, and not before: that is what the driver asks for.
TEST_F(BlockDeviceTest, AFlushMakesALayerDurableAndWithoutFlushEachWriteIs) {
  make_file("image", pattern(64));
  const auto saved = [&] {
    return clonesafe::block::Layer::open(make_file("copy", contents(path("layer"))), Lock::kShared)
        ->count();
  };
  make(layered(path("image"), path("layer")));
  go();
  put_guest(kData, pattern(8, 'X'));
  EXPECT_EQ(request(RequestType::kOut, 8, {{.address = kData, .length = 4096}}), kOk);
  EXPECT_EQ(saved(), 0u);
  EXPECT_EQ(request(RequestType::kFlush, 0), kOk);
  EXPECT_EQ(saved(), 1u);
  // A driver that doesn't know of flushes.
  queue_ = FakeQueue(kRing, 64);
  std::memset(bytes_.bytes().data(), 0, 0x3000);
  go(kFeatureVersion1);
  EXPECT_EQ(request(RequestType::kOut, 16, {{.address = kData, .length = 4096}}), kOk);
  EXPECT_EQ(saved(), 2u);
}

TEST_F(BlockDeviceTest, SaysWhatTheHostDidToItOnceASecondAtMost) {
  std::ostringstream said;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(said)));
  make(in_place());
  go();
  std::filesystem::resize_file(path("image"), 4096);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(request(RequestType::kIn, 32, {{.address = kData, .length = 512, .writable = true}}),
              kIoError);
  }
  spdlog::set_default_logger(before);
  const std::string text = said.str();
  EXPECT_THAT(text, HasSubstr("disk 0: the guest was told an I/O error: " +
                              std::filesystem::absolute(path("image")).string()));
  EXPECT_EQ(std::ranges::count(text, '\n'), 1);
  EXPECT_EQ(device_->counts().errors, 3u);
}

TEST_F(BlockDeviceTest, TellsItsSerialNumber) {
  make(in_place(), "disk-of-twenty-bytes");
  go();
  EXPECT_EQ(request(RequestType::kGetId, 0, {{.address = kData, .length = 20, .writable = true}}),
            kOk);
  EXPECT_EQ(guest(kData, 20), "disk-of-twenty-bytes");
  EXPECT_EQ(request(RequestType::kGetId, 0, {{.address = kData, .length = 19, .writable = true}}),
            kIoError);
}

TEST_F(BlockDeviceTest, DiscardsAndWritesZeroes) {
  make_file("image", pattern(64));
  make(layered(path("image"), path("layer")));
  go();
  const auto segments = [&](const std::vector<blk::Segment>& list) {
    for (std::size_t i = 0; i < list.size(); ++i) FakeQueue::put(memory_, kData + 16 * i, list[i]);
    return std::vector<Part>{
        {.address = kData, .length = static_cast<std::uint32_t>(16 * list.size())}};
  };
  EXPECT_EQ(request(RequestType::kWriteZeroes, 0, segments({{1, 3, 0}, {8, 16, 1}})), kOk);
  std::string expected = pattern(64);
  expected.replace(512, 3 * 512, std::string(3 * 512, '\0'));
  expected.replace(8 * 512, 16 * 512, std::string(16 * 512, '\0'));
  EXPECT_EQ(all(device_->disk()), expected);
  EXPECT_EQ(request(RequestType::kDiscard, 0, segments({{32, 8, 0}})), kOk);
  EXPECT_EQ(device_->counts().discards, 2u);

  EXPECT_EQ(request(RequestType::kDiscard, 0, segments({{32, 8, 1}})), kUnsupported);
  EXPECT_EQ(request(RequestType::kWriteZeroes, 0, segments({{0, 8, 2}})), kUnsupported);
  EXPECT_EQ(request(RequestType::kWriteZeroes, 0, segments({{0, 8, 0}, {60, 5, 0}})), kIoError);
  EXPECT_EQ(request(RequestType::kDiscard, 0, segments({{~0ull, 2, 0}})), kIoError);
  EXPECT_EQ(request(RequestType::kDiscard, 0, {}), kIoError);
  EXPECT_EQ(request(RequestType::kDiscard, 0, {{.address = kData, .length = 17}}), kIoError);
  EXPECT_EQ(request(RequestType::kDiscard, 0, {{.address = kData, .length = 16 * 17}}), kIoError);
  EXPECT_EQ(get(device_->disk(), 0, 512), pattern(64).substr(0, 512))
      << "a request with one bad segment did a good one";
}

TEST_F(BlockDeviceTest, RefusesWhatIsNoRequestAndGoesOn) {
  make(in_place());
  go();
  const std::vector<Part> sector = {{.address = kData, .length = 512, .writable = true}};
  const std::vector<Part> data = {{.address = kData, .length = 512}};
  struct {
    RequestType type;
    std::uint64_t sector;
    std::vector<Part> parts;
    std::uint8_t status;
    const char* what;
  } const cases[] = {
      {RequestType{2}, 0, sector, kUnsupported, "unknown type"},
      {RequestType{0xffffffff}, 0, data, kUnsupported, "unknown type"},
      {RequestType::kIn, 64, sector, kIoError, "behind the end"},
      {RequestType::kIn,
       63,
       {{.address = kData, .length = 1024, .writable = true}},
       kIoError,
       "over the end"},
      {RequestType::kIn, ~0ull, sector, kIoError, "sector that overflows"},
      {RequestType::kIn, ~0ull / 512 + 1, sector, kIoError, "offset that overflows"},
      {RequestType::kIn,
       0,
       {{.address = kData, .length = 511, .writable = true}},
       kIoError,
       "no whole sector"},
      {RequestType::kIn,
       0,
       {{.address = kData, .length = 512}, sector[0]},
       kIoError,
       "data to a read"},
      {RequestType::kOut, 64, data, kIoError, "behind the end"},
      {RequestType::kOut, ~0ull, data, kIoError, "sector that overflows"},
      {RequestType::kOut, 0, {{.address = kData, .length = 100}}, kIoError, "no whole sector"},
      {RequestType::kOut, 0, {data[0], sector[0]}, kIoError, "a write with a place for data"},
  };
  for (const auto& bad : cases) {
    EXPECT_EQ(request(bad.type, bad.sector, bad.parts), bad.status) << bad.what;
    EXPECT_FALSE(needs_reset()) << bad.what;
  }
  // A header that is too short has a status all the same.
  FakeQueue::put(memory_, kStatus, std::uint8_t{0xff});
  queue_.add(memory_, {{.address = kHeader, .length = 15},
                       {.address = kStatus, .length = 1, .writable = true}});
  notify();
  ASSERT_TRUE(queue_.take_used(memory_));
  EXPECT_EQ(status(), kIoError);
  EXPECT_EQ(contents(path("image")), pattern(64));
  EXPECT_EQ(device_->counts().errors, 0u) << "the guest's mistakes are no errors of the host";
  EXPECT_EQ(request(RequestType::kIn, 0, sector), kOk);
}

TEST_F(BlockDeviceTest, ARequestWithoutAStatusEndsTheDevice) {
  make(in_place());
  go();
  put_header(0, 0);
  queue_.add(memory_, {{.address = kHeader, .length = 16}});
  notify();
  EXPECT_TRUE(needs_reset());
  EXPECT_EQ(transport_->last_error(), "a request without a place for its status");
  EXPECT_FALSE(queue_.take_used(memory_));
}

TEST_F(BlockDeviceTest, ADiskThatIsOnlyReadIsNotWritten) {
  make(in_place(true));
  registers_->write(kRegisterDeviceFeaturesSelect, 0);
  const std::uint32_t features = registers_->read(kRegisterDeviceFeatures);
  EXPECT_NE(features & blk::kFeatureReadOnly, 0u);
  EXPECT_EQ(features & (blk::kFeatureDiscard | blk::kFeatureWriteZeroes), 0u);
  go(kFeatureVersion1 | blk::kFeatureFlush);
  EXPECT_EQ(request(RequestType::kOut, 0, {{.address = kData, .length = 512}}), kIoError);
  FakeQueue::put(memory_, kData, blk::Segment{0, 8, 0});
  for (const RequestType type : {RequestType::kDiscard, RequestType::kWriteZeroes})
    EXPECT_EQ(request(type, 0, {{.address = kData, .length = 16}}), kIoError);
  EXPECT_EQ(request(RequestType::kFlush, 0), kOk);
  EXPECT_EQ(contents(path("image")), pattern(64));
}

// The host's trouble is the guest's I/O error, and is counted; the device works on.
TEST_F(BlockDeviceTest, AnImageThatWasCutIsAnIoError) {
  make(in_place());
  go();
  ASSERT_EQ(::truncate(path("image").c_str(), 512 * 32), 0);
  const std::vector<Part> sector = {{.address = kData, .length = 512, .writable = true}};
  put_guest(kData, std::string(512, '#'));
  EXPECT_EQ(request(RequestType::kIn, 40, sector), kIoError);
  EXPECT_EQ(guest(kData, 512), std::string(512, '#')) << "zeros that nobody wrote";
  EXPECT_EQ(request(RequestType::kOut, 40, {{.address = kData, .length = 512}}), kIoError);
  EXPECT_EQ(request(RequestType::kFlush, 0), kIoError);
  EXPECT_EQ(device_->counts().errors, 3u);
  EXPECT_EQ(request(RequestType::kIn, 31, sector), kOk);
}

TEST_F(BlockDeviceTest, TakesIndirectDescriptors) {
  make(in_place());
  go(kDriverFeatures | kFeatureIndirectDescriptors);
  put_header(0, 7);
  constexpr std::uint64_t kTable = kData + 0x8000;
  const auto table = [&](std::size_t index, const Descriptor& descriptor) {
    FakeQueue::put(memory_, kTable + 16 * index, descriptor);
  };
  table(0, {kHeader, 16, kDescriptorNext, 2});
  table(1, {kStatus, 1, kDescriptorWrite, 0});
  table(2, {kData, 512, kDescriptorNext | kDescriptorWrite, 1});
  queue_.add(memory_, {{.address = kTable, .length = 48, .extra_flags = kDescriptorIndirect}});
  notify();
  ASSERT_TRUE(queue_.take_used(memory_)) << transport_->last_error();
  EXPECT_EQ(status(), kOk);
  EXPECT_EQ(guest(kData, 512), pattern(64).substr(7 * 512, 512));
}

TEST_F(BlockDeviceTest, RefusesBadTables) {
  constexpr std::uint64_t kTable = kData + 0x8000;
  struct {
    std::uint64_t features;
    Part part;
    std::vector<Descriptor> table;
    std::string why;
  } const cases[] = {
      {0, {.address = kTable, .length = 16}, {}, "which was not negotiated"},
      {kFeatureIndirectDescriptors, {.address = kTable, .length = 0}, {}, "a table of 0 bytes"},
      {kFeatureIndirectDescriptors, {.address = kTable, .length = 24}, {}, "a table of 24 bytes"},
      {kFeatureIndirectDescriptors, {.address = 0x10, .length = 16}, {}, "descriptor 0"},
      {kFeatureIndirectDescriptors, {.address = kTable, .length = 16, .next = 1}, {}, "has a next"},
      {kFeatureIndirectDescriptors,
       {.address = kTable, .length = 16},
       {{kTable, 16, kDescriptorIndirect, 0}},
       "in a table is indirect"},
      {kFeatureIndirectDescriptors,
       {.address = kTable, .length = 16},
       {{kHeader, 16, kDescriptorNext, 1}},
       "descriptor 1 in a table of 1"},
      {kFeatureIndirectDescriptors,
       {.address = kTable, .length = 32},
       {{kHeader, 16, kDescriptorNext, 1}, {kHeader, 16, kDescriptorNext, 0}},
       "is a loop"},
  };
  make(in_place());
  for (const auto& bad : cases) {
    queue_ = FakeQueue(kRing, 64);
    std::memset(bytes_.bytes().data(), 0, 0x3000);
    go(kDriverFeatures | bad.features);
    for (std::size_t i = 0; i < bad.table.size(); ++i)
      FakeQueue::put(memory_, kTable + 16 * i, bad.table[i]);
    Part part = bad.part;
    part.extra_flags = kDescriptorIndirect;
    queue_.add(memory_, {part});
    notify();
    EXPECT_TRUE(needs_reset()) << bad.why;
    EXPECT_THAT(transport_->last_error(), HasSubstr(bad.why));
  }
}

// 2.7.7.2 and 2.7.10: the driver names the buffer it wants to hear of, and so does the device.
TEST_F(BlockDeviceTest, InterruptsAndNotificationsByEventIndex) {
  make(in_place());
  go(kDriverFeatures | kFeatureEventIndex);
  const std::uint64_t used_event = queue_.available() + 4 + 2 * 64;
  const std::uint64_t avail_event = queue_.used() + 4 + 8 * 64;
  const std::vector<Part> sector = {{.address = kData, .length = 512, .writable = true}};
  FakeQueue::put(memory_, used_event, std::uint16_t{2});
  const auto wants = [&] { return memory_.read<std::uint16_t>(GuestAddress(avail_event)).value(); };
  EXPECT_EQ(wants(), 0);
  EXPECT_EQ(request(RequestType::kIn, 0, sector), kOk);
  EXPECT_EQ(request(RequestType::kIn, 0, sector), kOk);
  EXPECT_EQ(line_.raised, 0);
  EXPECT_EQ(wants(), 2) << "the next buffer";
  EXPECT_EQ(request(RequestType::kIn, 0, sector), kOk);
  EXPECT_EQ(line_.raised, 1);
  EXPECT_EQ(request(RequestType::kIn, 0, sector), kOk);
  EXPECT_EQ(line_.raised, 1);
}

TEST_F(BlockDeviceTest, TellsWhichPagesItWrote) {
  PageSet written(kMemorySize / PageSet::kPageSize);
  memory_ = GuestMemory(memory_.regions(), &written);
  make(in_place());
  go();
  add(RequestType::kIn, 0, {{.address = kData + 0x1000, .length = 512, .writable = true}});
  written.clear();
  notify();
  const auto page = [](std::uint64_t address) {
    return (address - FakeMemory::kStart) / PageSet::kPageSize;
  };
  EXPECT_TRUE(written.contains(page(kData + 0x1000)));
  EXPECT_TRUE(written.contains(page(kStatus)));
  EXPECT_TRUE(written.contains(page(queue_.used())));
}

}  // namespace
}  // namespace clonesafe::virtio
