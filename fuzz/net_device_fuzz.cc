// The network device with a guest whose memory holds anything: rings, descriptors, headers and
// control commands are the guest's, and so is the order of what it does to registers.
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <cstring>

#include "vmm_device/virtio/mmio_transport.h"
#include "vmm_device/virtio/net_device.h"
#include "vmm_device/virtio/parked_frames.h"

using namespace clonesafe;
using namespace clonesafe::virtio;

namespace {

constexpr std::uint64_t kStart = 0x1000;
constexpr std::size_t kMemory = 0x8000;
constexpr std::uint64_t kQueueStep = 0x1000;
alignas(4096) std::byte memory_bytes[kMemory];
constexpr network::MacAddress kMac{{2, 0, 0, 0, 0, 1}};

class NoLine final : public InterruptLine {
 public:
  void raise() override {}
};

struct Machine {
  explicit Machine(const NetOptions& options) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
      std::abort();
    host = UniqueFd(ends[1]);
    device = NetDevice::create(io, "net 0",
                               {.fd = UniqueFd(ends[0]),
                                .name = "t0",
                                .set_offloads = [](const auto&) { return Status(); }},
                               options)
                 .value();
    transport = std::make_unique<MmioTransport>("net 0", memory, line, io, *device);
  }
  void write(std::uint32_t offset, std::uint32_t value) const {
    transport->write(offset, std::as_bytes(std::span(&value, 1)));
  }
  void start(std::uint64_t features, std::uint16_t size) const {
    write(kRegisterStatus, 0);
    write(kRegisterStatus, kStatusAcknowledge | kStatusDriver);
    for (std::uint32_t half = 0; half < 2; ++half) {
      write(kRegisterDriverFeaturesSelect, half);
      write(kRegisterDriverFeatures, static_cast<std::uint32_t>(features >> (32 * half)));
    }
    write(kRegisterStatus, kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk);
    for (std::uint32_t queue = 0; queue < 3; ++queue) {
      const auto at = static_cast<std::uint32_t>(kStart + queue * kQueueStep);
      write(kRegisterQueueSelect, queue);
      write(kRegisterQueueSize, size);
      write(kRegisterQueueDescriptorsLow, at);
      write(kRegisterQueueDriverLow, at + 0x800);
      write(kRegisterQueueDeviceLow, at + 0xc00);
      write(kRegisterQueueReady, 1);
    }
    write(kRegisterStatus,
          kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk | kStatusDriverOk);
  }
  // Turns end: a guest that fails is stopped, and one that doesn't runs out of buffers.
  void work() {
    io.restart();
    for (int turns = 0; turns < 64 && io.poll_one() != 0; ++turns) {
    }
  }

  GuestMemory memory{{{GuestAddress(kStart), std::span(memory_bytes)}}};
  NoLine line;
  boost::asio::io_context io;
  UniqueFd host;
  std::unique_ptr<NetDevice> device;
  std::unique_ptr<MmioTransport> transport;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  spdlog::set_level(spdlog::level::off);
  struct Setup {
    std::uint32_t features;
    std::uint8_t size_shift;
    std::uint8_t hold;
    std::uint16_t steps;
  } setup{};
  if (size < sizeof setup) return 0;
  std::memcpy(&setup, data, sizeof setup);
  data += sizeof setup;
  size -= sizeof setup;
  const auto steps = std::span(data, std::min<std::size_t>(setup.steps % 64, size));
  data += steps.size();
  size -= steps.size();
  std::memset(memory_bytes, 0, kMemory);
  std::memcpy(memory_bytes, data, std::min(size, kMemory));

  const NetOptions options{.mac = kMac, .hold = (setup.hold & 1) != 0};
  auto machine = std::make_unique<Machine>(options);
  const std::uint64_t features = kFeatureVersion1 | (setup.features & machine->device->features());
  machine->start(features, static_cast<std::uint16_t>(1u << (setup.size_shift % 7)));
  machine->work();
  static std::byte frame[70'000];
  for (const std::uint8_t step : steps) {
    switch (step % 8) {
      case 0:
      case 1:
      case 2:
        machine->write(kRegisterQueueNotify, step % 8);
        break;
      case 3:  // a frame comes
        static_cast<void>(::send(machine->host.get(), frame, std::size_t{step} * step,
                                 MSG_DONTWAIT | MSG_NOSIGNAL));
        break;
      case 4:  // frames go
        while (::recv(machine->host.get(), frame, sizeof frame, MSG_DONTWAIT) > 0) {
        }
        break;
      case 5:
        machine->device->release();
        break;
      case 6: {  // a snapshot and its clone, which goes on in the same memory
        machine->transport->pause();
        StateEncoder state;
        machine->transport->save(state);
        machine = std::make_unique<Machine>(
            NetOptions{.hold = (step & 8) != 0, .drop_queued = (step & 16) != 0});
        StateDecoder decoder("net 0", state.bytes());
        if (!machine->transport->restore(decoder) || !decoder.finish()) std::abort();
        machine->transport->resume();
        break;
      }
      default:
        if ((step & 8) != 0) {
          machine->start(features, static_cast<std::uint16_t>(1u << (step / 16 % 7)));
        } else {  // the guest has one chain more
          auto& index = memory_bytes[step / 16 % 3 * kQueueStep + 0x802];
          index = static_cast<std::byte>(static_cast<std::uint8_t>(index) + 1);
        }
        break;
    }
    machine->work();
    if (machine->device->counts().parked_now > net::ParkedFrames::kMaxFrames) std::abort();
  }
  return 0;
}
