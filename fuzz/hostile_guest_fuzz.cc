// A hostile guest with every device at once: what its memory holds, which ports and registers it
// reads and writes, in which order, and on two vCPUs at the same time as the devices' threads work.
// Between the rounds the machine may be snapshotted and go on as a clone.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/unit/virtio/fake_driver.h"
#include "vmm_device/generation/generation_devices.h"
#include "vmm_device/machine/bus.h"
#include "vmm_device/machine/power.h"
#include "vmm_device/machine/serial.h"
#include "vmm_device/virtio/balloon_device.h"
#include "vmm_device/virtio/block_device.h"
#include "vmm_device/virtio/net_device.h"
#include "vmm_device/virtio/parked_frames.h"
#include "vmm_device/virtio/rng_device.h"
#include "vmm_device/virtio/vsock_device.h"

using namespace clonesafe;
using namespace clonesafe::virtio;

namespace {

constexpr std::size_t kMemory = 16384;
constexpr std::uint64_t kImage = 65536;
constexpr std::size_t kDevices = 5;
constexpr std::size_t kMostQueues = 5;  // of a device
constexpr std::size_t kMaxStreams = 4;
constexpr std::uint16_t kSerialPort = 0x3f8;

void require(bool held) {
  if (!held) std::abort();
}

class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  template <typename T>
  T take() {
    T value{};
    copy_to(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void copy_to(std::span<std::byte> to) {
    const std::size_t count = std::min(to.size(), bytes_.size());
    std::memcpy(to.data(), bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
  }
  // The first so many of what is left, for somebody else.
  Input part(std::size_t count) {
    const auto first = bytes_.first(std::min(count, bytes_.size()));
    bytes_ = bytes_.subspan(first.size());
    return Input(first);
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

class CountingEntropy final : public EntropySource {
 public:
  Status fill(std::span<std::byte> bytes) override {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(next_ = next_ * 5 + 1);
    return {};
  }

 private:
  unsigned next_ = 1;
};

UniqueFd memory_file(std::uint64_t size) {
  UniqueFd fd(::memfd_create("image", MFD_CLOEXEC));
  require(::ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
  return fd;
}

clonesafe::block::Disk layered_disk(int image) {
  using namespace clonesafe::block;
  Disk disk(DiskImage::open("/proc/self/fd/" + std::to_string(image), Lock::kShared).value(),
            false);
  require(
      disk.add(Layer::create(memory_file(0), "layer", disk.base().value()).value()).has_value());
  return disk;
}

// All devices of a machine on their buses, with the threads that they have in clonevm.
class Machine {
 public:
  Machine(const FakeMemory& bytes, int image, const NetOptions& net_options)
      : memory_(bytes.memory()),
        disk_("disk", layered_disk(image), "serial"),
        discard_(memory_, PageDiscard::Below::kZeros),
        balloon_(discard_, kMemory, {.reporting = true}),
        serial_(line_, [](std::span<const std::byte>) {}) {
    vsock_ = VsockDevice::create(io_, {.guest_cid = 3,
                                       .max_connections = kMaxStreams,
                                       .buffer_size = 2048,
                                       .held_ports = {2}})
                 .value();
    vsock_->listen(1, [this](UniqueFd stream) -> Status {
      const std::lock_guard lock(served_mutex_);
      static_cast<void>(::send(stream.get(), "welcome", 7, MSG_DONTWAIT | MSG_NOSIGNAL));
      served_.push_back(std::move(stream));
      return {};
    });
    int ends[2];
    require(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    wire_ = UniqueFd(ends[1]);
    if (net_options.hold) disk_.hold_flushes();
    net_ = NetDevice::create(io_, "net",
                             {.fd = UniqueFd(ends[0]),
                              .name = "t0",
                              .set_offloads = [](const auto&) { return Status(); }},
                             net_options)
               .value();
    VirtioDevice* const devices[kDevices] = {vsock_.get(), &rng_, &disk_, net_.get(), &balloon_};
    for (std::size_t slot = 0; slot < kDevices; ++slot) {
      transports_.push_back(
          std::make_unique<MmioTransport>("device", memory_, line_, io_, *devices[slot]));
      mmio_.attach(layout::kVirtioMmioStart + slot * layout::kVirtioMmioSize,
                   layout::kVirtioMmioSize, *transports_.back());
      features_[slot] = devices[slot]->features();
      queues_[slot] = devices[slot]->queue_sizes().size();
    }
    ports_.attach(kSerialPort, 8, serial_);
    ports_.attach(layout::kSleepControlPort, 3, sleep_);
    ports_.attach(kKeyboardCommandPort, 1, reset_);
  }
  ~Machine() {
    stop();
    disk_.end();
  }

  void start() {
    require(disk_.start({}).has_value());
    thread_ = std::thread([this] { io_.run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    guard_.reset();
    io_.stop();
    thread_.join();
  }

  // What the snapshot of it holds; nothing as long as a flush is held.
  std::vector<std::vector<std::byte>> save() {
    for (const auto& transport : transports_) transport->pause();
    std::vector<std::vector<std::byte>> all;
    if (disk_.flush_waits()) {
      for (const auto& transport : transports_) transport->resume();
      return all;
    }
    for (const auto& transport : transports_) {
      StateEncoder state;
      transport->save(state);
      all.push_back(state.take());
    }
    all.push_back(serial_.save());
    for (const auto& transport : transports_) transport->resume();
    return all;
  }
  void restore(const std::vector<std::vector<std::byte>>& all) {
    for (std::size_t slot = 0; slot < kDevices; ++slot) {
      StateDecoder decoder("device", all[slot]);
      require(transports_[slot]->restore(decoder) && decoder.finish());
    }
    require(serial_.restore(all[kDevices]).has_value());
    for (const auto& transport : transports_) transport->resume();
  }

  // A vCPU, as the bytes say.
  void run_vcpu(Input input, std::span<std::byte> ram) {
    while (!input.empty()) {
      const auto step = input.take<std::uint8_t>();
      std::byte bytes[8]{};
      const auto data = std::span(bytes).first(std::size_t{1} << (step >> 6));
      switch (step % 12) {
        case 0:
          input.copy_to(data);
          ports_.write(port(input), data);
          break;
        case 1:
          ports_.read(port(input), data);
          break;
        case 2: {
          const auto address = registers(input) + input.take<std::uint16_t>() % 0x210;
          input.copy_to(data);
          mmio_.write(address, data);
          break;
        }
        case 3:
          mmio_.read(registers(input) + input.take<std::uint16_t>() % 0x210, data);
          break;
        case 5: {  // a descriptor, most of whose buffers are in memory
          const std::size_t at = input.take<std::uint16_t>() % kMemory / sizeof(Descriptor);
          const Descriptor descriptor{
              .address = FakeMemory::kStart + input.take<std::uint16_t>() % (kMemory + 1024),
              .length = input.take<std::uint16_t>() % 4096u,
              .flags = static_cast<std::uint16_t>(input.take<std::uint8_t>() % 8),
              .next = static_cast<std::uint16_t>(input.take<std::uint8_t>() % 16)};
          std::memcpy(&ram[at * sizeof descriptor], &descriptor, sizeof descriptor);
          break;
        }
        case 4: {
          const std::size_t at = input.take<std::uint16_t>() % kMemory;
          input.copy_to(ram.subspan(at).first(std::min<std::size_t>(step >> 2, kMemory - at)));
          break;
        }
        case 6:
          set_up(input);
          break;
        case 7:
          host_turn(input.take<std::uint8_t>());
          break;
        case 8:
          give(input, ram);
          break;
        default:
          write(registers(input) + kRegisterQueueNotify, step >> 4);
          break;
      }
    }
  }

  void check() const {
    require(vsock_->counts().streams <= kMaxStreams);
    require(net_->counts().parked_now <= net::ParkedFrames::kMaxFrames);
  }

 private:
  static std::uint64_t port(Input& input) {
    const auto which = input.take<std::uint16_t>();
    switch (which % 4) {
      case 0:
        return kSerialPort + which / 4 % 9u;
      case 1:
        return layout::kSleepControlPort + which / 4 % 4u;
      case 2:
        return kKeyboardCommandPort;
      default:
        return which;
    }
  }
  static std::uint64_t registers(Input& input) {
    // One more than there is.
    return layout::kVirtioMmioStart +
           input.take<std::uint8_t>() % (kDevices + 1) * layout::kVirtioMmioSize;
  }
  void write(std::uint64_t address, std::uint32_t value) const {
    mmio_.write(address, std::as_bytes(std::span(&value, 1)));
  }

  // A driver that starts: any of the features, and rings mostly where they can be. Some are a
  // little outside of memory.
  void set_up(Input& input) {
    const std::size_t slot = input.take<std::uint8_t>() % kDevices;
    const std::uint64_t at = layout::kVirtioMmioStart + slot * layout::kVirtioMmioSize;
    const std::uint64_t features =
        kFeatureVersion1 | (input.take<std::uint32_t>() & features_[slot]);
    write(at + kRegisterStatus, 0);
    write(at + kRegisterStatus, kStatusAcknowledge | kStatusDriver);
    for (std::uint32_t half = 0; half < 2; ++half) {
      write(at + kRegisterDriverFeaturesSelect, half);
      write(at + kRegisterDriverFeatures, static_cast<std::uint32_t>(features >> (32 * half)));
    }
    write(at + kRegisterStatus, kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk);
    for (std::uint32_t queue = 0; queue < queues_[slot]; ++queue) {
      write(at + kRegisterQueueSelect, queue);
      const auto entries = static_cast<std::uint16_t>(1u << (input.take<std::uint8_t>() % 7));
      write(at + kRegisterQueueSize, entries);
      for (const std::uint32_t low :
           {kRegisterQueueDescriptorsLow, kRegisterQueueDriverLow, kRegisterQueueDeviceLow}) {
        const std::uint32_t place = input.take<std::uint16_t>() % (kMemory + 1024) / 16 * 16;
        write(at + low, static_cast<std::uint32_t>(FakeMemory::kStart) + place);
        if (low == kRegisterQueueDriverLow)
          given_[slot][queue] = Available{.place = place, .size = entries};
      }
      write(at + kRegisterQueueReady, 1);
    }
    write(at + kRegisterStatus,
          kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk | kStatusDriverOk);
  }

  // One chain more, of a ring that was set up.
  void give(Input& input, std::span<std::byte> ram) const {
    const Available ring =
        given_[input.take<std::uint8_t>() % kDevices][input.take<std::uint8_t>() % kMostQueues];
    if (ring.size == 0 || ring.place + 6 + 2 * std::size_t{ring.size} > ram.size()) return;
    const auto word = [&](std::size_t at) {
      return std::atomic_ref(*reinterpret_cast<std::uint16_t*>(&ram[ring.place + at]));
    };
    const std::uint16_t index = word(2);
    word(4 + 2 * (std::size_t{index} % ring.size)) = input.take<std::uint8_t>() % 64;
    word(2) = static_cast<std::uint16_t>(index + 1);
  }

  // Others on the host, at any time.
  void host_turn(std::uint8_t what) {
    std::byte bytes[2000]{};
    switch (what % 6) {
      case 0:
        static_cast<void>(::send(wire_.get(), bytes, what * 7u, MSG_DONTWAIT | MSG_NOSIGNAL));
        break;
      case 1:
        while (::recv(wire_.get(), bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
        }
        break;
      case 2:
        static_cast<void>(serial_.receive(std::span(bytes).first(what)));
        break;
      case 3:
        net_->release();
        disk_.release();
        boost::asio::post(io_, [this] { vsock_->release(); });
        break;
      case 4:
        boost::asio::post(io_, [this, what] {
          // Whoever asks on the host is refused more than there is.
          if (what % 4 == 0) return balloon_.set_target(what / 4 % (balloon_.memory_pages() + 1));
          static_cast<void>(balloon_.ask_statistics());
        });
        break;
      default: {
        const std::lock_guard lock(served_mutex_);
        if (served_.empty()) return;
        static_cast<void>(::recv(served_.back().get(), bytes, sizeof bytes, MSG_DONTWAIT));
        if (what % 2 == 0) served_.pop_back();
      }
    }
  }

  GuestMemory memory_;
  CountingLine line_;
  boost::asio::io_context io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_{
      io_.get_executor()};
  std::mutex served_mutex_;
  std::vector<UniqueFd> served_;
  std::unique_ptr<VsockDevice> vsock_;
  RngDevice rng_;
  BlockDevice disk_;
  PageDiscard discard_;
  BalloonDevice balloon_;
  UniqueFd wire_;
  std::unique_ptr<NetDevice> net_;
  std::vector<std::unique_ptr<MmioTransport>> transports_;
  std::uint64_t features_[kDevices]{};
  std::size_t queues_[kDevices]{};
  // Where the driver's rings are.
  struct Available {
    std::uint32_t place = 0;
    std::uint16_t size = 0;
  };
  std::atomic<Available> given_[kDevices][kMostQueues]{};
  Serial serial_;
  SleepRegisters sleep_{[](PowerEvent) {}};
  ResetController reset_{[](PowerEvent) {}};
  Bus ports_;
  Bus mmio_;
  std::thread thread_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  spdlog::set_level(spdlog::level::off);
  alignas(4096) static std::array<std::byte, layout::kGenerationPagesSize> pages;
  Input input(std::span(data, size));
  const UniqueFd image = memory_file(kImage);
  const FakeMemory ram(kMemory);
  pages.fill(std::byte{0});
  const bool hold = input.take<std::uint8_t>() % 2 == 1;
  input.copy_to(ram.bytes().first(input.take<std::uint16_t>() % 8192));
  auto machine = std::make_unique<Machine>(ram, image.get(),
                                           NetOptions{.mac = {{{2, 0, 0, 0, 0, 1}}}, .hold = hold});
  CountingEntropy entropy;
  const GuestMemory memory = ram.memory();
  GenerationDevices generation(pages, {}, memory);
  require(generation.write_boot(entropy).has_value());
  machine->start();
  for (int round = 0; round < 4 && !input.empty(); ++round) {
    const auto how = input.take<std::uint8_t>();
    {
      Input other = input.part(input.take<std::uint8_t>());
      const std::jthread vcpu([&] { machine->run_vcpu(other, ram.bytes()); });
      // The agent's page may be anywhere, and change while it is looked at.
      if ((how & 1) != 0)
        static_cast<void>(generation.register_page(
            GuestAddress(FakeMemory::kStart + input.take<std::uint16_t>()), PageNonce{}));
      machine->run_vcpu(input.part(input.take<std::uint8_t>()), ram.bytes());
    }
    machine->check();
    if ((how & 2) == 0) continue;
    const auto state = machine->save();
    if (state.empty()) continue;
    if ((how & 4) == 0) {
      require(generation.write_resume(entropy).has_value());
      continue;
    }
    // The guest writes to the pages of its generation as it likes, too.
    input.copy_to(std::span(pages).subspan(input.take<std::uint16_t>() % 0x3f00).first(64));
    machine.reset();
    machine = std::make_unique<Machine>(
        ram, image.get(), NetOptions{.hold = (how & 8) != 0, .drop_queued = (how & 16) != 0});
    machine->restore(state);
    require(generation.write_restore(entropy, RestoreKind::kClone, {}).has_value());
    machine->start();
  }
  machine->stop();
  machine->check();
  machine.reset();
  // Nothing was written to the image under the layer.
  struct stat status{};
  require(::fstat(image.get(), &status) == 0 && status.st_size == static_cast<off_t>(kImage) &&
          status.st_blocks == 0);
  return 0;
}
