#ifndef CLONESAFE_TESTS_UNIT_BALLOON_BALLOON_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_BALLOON_BALLOON_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "libclonesafe/base/mapping.h"
#include "libclonesafe/base/unique_fd.h"
#include "tests/unit/virtio/fake_driver.h"
#include "vmm_device/virtio/balloon_device.h"

namespace clonesafe::virtio {

inline constexpr std::uint64_t kAllFeatures =
    kFeatureIndirectDescriptors | balloon::kFeatureStatistics | balloon::kFeatureDeflateOnOom |
    balloon::kFeaturePageReporting;
inline constexpr std::byte kUsed{0x5a};  // what a page of the guest's holds

// A guest's balloon driver. Plain data: a copy of it and of its memory is the guest of a clone.
struct FakeBalloonGuest {
  static constexpr std::uint64_t kRings = FakeMemory::kStart;
  static constexpr std::uint64_t kBuffers = FakeMemory::kStart + 0x10000;
  static constexpr std::size_t kReport = 3;  // as Linux numbers it
  FakeQueue queues[5] = {{kRings, 64},
                         {kRings + 0x2000, 64},
                         {kRings + 0x4000, 8},
                         {kRings + 0x6000, 64},
                         {kRings + 0x8000, 64}};
  std::uint64_t buffer = kBuffers;  // the next request's
};

// A machine with a balloon and 16 MiB of memory: the guest's rings, then pages to give.
struct BalloonMachine {
  static constexpr std::size_t kSize = std::size_t{16} << 20;
  static constexpr std::uint32_t kFirst = (FakeMemory::kStart + 0x100000) >> balloon::kPageShift;
  static constexpr std::uint32_t kPages = (kSize - 0x100000) >> balloon::kPageShift;

  explicit BalloonMachine(BalloonOptions options = {.reporting = true}, int file = -1)
      : ram(Mapping::map("memory", kSize, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | (file < 0 ? MAP_ANONYMOUS : 0), file)
                .value()),
        memory({{GuestAddress(FakeMemory::kStart), ram.bytes()}}, &written),
        discard(memory, file < 0 ? PageDiscard::Below::kZeros : PageDiscard::Below::kFile),
        device(discard, kSize, std::move(options)),
        transport(std::make_unique<MmioTransport>("balloon", memory, line, io, device)),
        registers(*transport) {}

  void start(std::uint64_t features = kAllFeatures,
             std::size_t report = FakeBalloonGuest::kReport) {
    registers.negotiate(kFeatureVersion1 | features);
    registers.set_up(0, guest.queues[0]);
    registers.set_up(1, guest.queues[1]);
    if ((features & balloon::kFeatureStatistics) != 0) registers.set_up(2, guest.queues[2]);
    if ((features & balloon::kFeaturePageReporting) != 0)
      registers.set_up(static_cast<std::uint32_t>(report), guest.queues[report]);
    registers.go();
    poll();
  }
  void poll() {
    io.restart();
    io.poll();
  }
  std::span<std::byte> page(std::uint32_t number, std::uint32_t count = 1) const {
    return memory.at(GuestAddress(std::uint64_t{number} << 12), std::uint64_t{count} << 12).value();
  }
  void use(std::uint32_t number, std::uint32_t count = 1) const {
    std::ranges::fill(page(number, count), kUsed);
  }
  bool is(std::uint32_t number, std::byte value) const {
    return std::ranges::all_of(page(number), [&](std::byte byte) { return byte == value; });
  }
  // The driver puts a buffer into a queue and tells; nothing happens until poll().
  void request(std::size_t queue, std::span<const std::byte> bytes, bool writable = false) {
    if (!bytes.empty())
      std::memcpy(memory.at(GuestAddress(guest.buffer), bytes.size())->data(), bytes.data(),
                  bytes.size());
    guest.queues[queue].add(memory, {{.address = guest.buffer,
                                      .length = static_cast<std::uint32_t>(bytes.size()),
                                      .writable = writable}});
    guest.buffer += (bytes.size() + 63) / 64 * 64;
    if (guest.buffer > FakeBalloonGuest::kBuffers + 0x20000)
      guest.buffer = FakeBalloonGuest::kBuffers;
    registers.notify(static_cast<std::uint32_t>(queue));
  }
  void request(std::size_t queue, const std::vector<std::uint32_t>& numbers) {
    request(queue, std::as_bytes(std::span(numbers)));
  }
  void report(const std::vector<Part>& parts, std::size_t queue = FakeBalloonGuest::kReport) {
    guest.queues[queue].add(memory, parts);
    registers.notify(static_cast<std::uint32_t>(queue));
  }
  bool answered(std::size_t queue) { return guest.queues[queue].take_used(memory).has_value(); }
  void put_statistics(const std::vector<balloon::Statistic>& statistics) {
    request(balloon::kStatisticsQueue, std::as_bytes(std::span(statistics)));
  }
  std::uint32_t config(std::size_t offset) const {
    return registers.read(static_cast<std::uint32_t>(kRegisterConfig + offset));
  }
  void write_config(std::size_t offset, std::uint32_t value) const {
    registers.write(static_cast<std::uint32_t>(kRegisterConfig + offset), value);
  }
  void set_actual(std::uint32_t pages) const {
    write_config(offsetof(balloon::Config, actual), pages);
  }
  std::uint32_t target() const { return config(offsetof(balloon::Config, num_pages)); }
  bool needs_reset() const { return (registers.read(kRegisterStatus) & kStatusNeedsReset) != 0; }

  Mapping ram;
  PageSet written{kSize / 4096};
  GuestMemory memory;
  CountingLine line;
  boost::asio::io_context io;
  PageDiscard discard;
  BalloonDevice device;
  std::unique_ptr<MmioTransport> transport;
  FakeRegisters registers;
  FakeBalloonGuest guest;
};

inline constexpr std::uint32_t kFirst = BalloonMachine::kFirst;

// What a restore makes of `source`, which is paused: a machine whose memory is a private view of a
// file. Paused too.
inline std::unique_ptr<BalloonMachine> clone_of(BalloonMachine& source) {
  source.transport->pause();
  const UniqueFd file(::memfd_create("snapshot", MFD_CLOEXEC));
  EXPECT_EQ(::write(file.get(), source.ram.data(), source.ram.size()),
            static_cast<ssize_t>(source.ram.size()));
  auto clone = std::make_unique<BalloonMachine>(BalloonOptions{.reporting = true}, file.get());
  clone->guest = source.guest;
  StateEncoder encoder;
  source.transport->save(encoder);
  StateDecoder decoder("balloon", encoder.bytes());
  const auto restored = clone->transport->restore(decoder);
  EXPECT_TRUE(restored) << restored.error().message();
  EXPECT_TRUE(decoder.finish());
  return clone;
}

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_TESTS_UNIT_BALLOON_BALLOON_FIXTURE_H_
