// The balloon with a guest whose memory holds anything: rings, descriptors and page numbers are the
// guest's, and so is the order of what it does to registers. What it gives may be the rings
// themselves. In a machine that was booted and, after a snapshot, in a clone.
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "libclonesafe/base/mapping.h"
#include "libclonesafe/base/unique_fd.h"
#include "tests/unit/virtio/fake_driver.h"
#include "vmm_device/virtio/balloon_device.h"

using namespace clonesafe;
using namespace clonesafe::virtio;

namespace {

constexpr std::uint64_t kStart = 0x1000;
constexpr std::size_t kMemory = 0x14000;
constexpr std::uint64_t kQueueStep = 0x2000;  // FakeQueue
constexpr std::size_t kQueues = 5;
constexpr std::uint64_t kKeptPage = 14;
constexpr std::byte kKept{0x6b};

// The guest's memory before this process touched it: what a clone's is a private view of.
int snapshot_file() {
  static const UniqueFd file(::memfd_create("snapshot", MFD_CLOEXEC));
  return file.get();
}

struct Machine {
  explicit Machine(bool clone)
      : ram(Mapping::map("memory", kMemory, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | (clone ? 0 : MAP_ANONYMOUS), clone ? snapshot_file() : -1)
                .value()),
        memory({{GuestAddress(kStart), ram.bytes()}}, &written),
        discard(memory, clone ? PageDiscard::Below::kFile : PageDiscard::Below::kZeros, 3),
        device(discard, kMemory,
               {.reporting = true, .kept = [] { return std::vector<std::uint64_t>{kKeptPage}; }}),
        transport("balloon", memory, line, io, device) {
    device.set_observer([this] { ++changes; });
  }
  void start(std::uint64_t features, std::uint16_t size) {
    registers.negotiate(features);
    for (std::uint32_t queue = 0; queue < kQueues; ++queue)
      registers.set_up(queue, FakeQueue(kStart + queue * kQueueStep,
                                        std::min(size, device.queue_sizes()[queue])));
    registers.go();
  }
  // Turns end: a guest that fails is stopped, and one that doesn't runs out of buffers.
  void work() {
    io.restart();
    for (int turns = 0; turns < 64 && io.poll_one() != 0; ++turns) {
    }
  }
  std::span<std::byte> kept_page() {
    return memory.at(GuestAddress(kKeptPage * balloon::kPageSize), balloon::kPageSize).value();
  }

  Mapping ram;
  PageSet written{kMemory / PageSet::kPageSize};
  GuestMemory memory;
  CountingLine line;
  boost::asio::io_context io;
  PageDiscard discard;
  BalloonDevice device;
  MmioTransport transport;
  FakeRegisters registers{transport};
  int changes = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  spdlog::set_level(spdlog::level::off);
  struct Setup {
    std::uint32_t features;
    std::uint8_t size_shift;
    std::uint8_t unused;
    std::uint16_t steps;
  } setup{};
  if (size < sizeof setup) return 0;
  std::memcpy(&setup, data, sizeof setup);
  data += sizeof setup;
  size -= sizeof setup;
  const auto steps = std::span(data, std::min<std::size_t>(setup.steps % 64, size));
  data += steps.size();
  size -= steps.size();

  auto machine = std::make_unique<Machine>(false);
  std::memcpy(machine->ram.data(), data, std::min(size, kMemory));
  std::ranges::fill(machine->kept_page(), kKept);
  const std::uint64_t features = kFeatureVersion1 | (setup.features & machine->device.features());
  machine->start(features, static_cast<std::uint16_t>(1u << (setup.size_shift % 7)));
  machine->work();
  for (const std::uint8_t step : steps) {
    switch (step % 8) {
      case 0:
      case 1:
      case 2:
      case 3:
        machine->registers.notify(step % 8 + (step & 8) / 8);
        break;
      case 4:
        static_cast<void>(machine->device.ask_statistics());
        break;
      case 5:
        if ((step & 8) != 0)
          machine->device.set_target(step);
        else
          machine->registers.write(kRegisterConfig + (step / 16 % 8) * 4, step & 0x80);
        break;
      case 6: {  // a snapshot and its clone
        machine->transport.pause();
        StateEncoder state;
        machine->transport.save(state);
        if (::pwrite(snapshot_file(), machine->ram.data(), kMemory, 0) !=
            static_cast<ssize_t>(kMemory))
          std::abort();
        machine = std::make_unique<Machine>(true);
        StateDecoder decoder("balloon", state.bytes());
        const auto restored = machine->transport.restore(decoder);
        if (restored && !decoder.finish()) std::abort();
        machine->transport.resume();
        break;
      }
      default:
        if ((step & 8) != 0) {
          machine->start(features, static_cast<std::uint16_t>(1u << (step / 16 % 7)));
        } else {  // the guest has one chain more
          auto& index = machine->ram.bytes()[step / 16 % kQueues * kQueueStep + 0x1002];
          index = static_cast<std::byte>(static_cast<std::uint8_t>(index) + 1);
        }
        break;
    }
    machine->work();
    if (machine->discard.pieces() > 3) std::abort();
  }
  // Whatever it gave, what must stay is there.
  if (std::ranges::count(machine->kept_page(), kKept) != balloon::kPageSize) std::abort();
  return 0;
}
