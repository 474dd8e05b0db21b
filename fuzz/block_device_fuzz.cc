// A hostile guest of the block device: what its memory holds, where it says that its rings are, and
// in which order it uses the registers.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tests/unit/virtio/fake_driver.h"
#include "vmm_device/virtio/block_device.h"

using namespace clonesafe;
using namespace clonesafe::virtio;

namespace {

constexpr std::size_t kMemory = 65536;
constexpr std::uint64_t kImage = 65536 + 512;  // the last cluster is not whole

std::string name_of(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

UniqueFd make_image() {
  UniqueFd fd(::memfd_create("image", MFD_CLOEXEC));
  const std::vector<char> bytes(kImage, 'b');
  if (::pwrite(fd.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    std::abort();
  return fd;
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  template <typename T>
  T take() {
    T value{};
    const std::size_t count = std::min(sizeof value, size_);
    std::memcpy(&value, data_, count);
    skip(count);
    return value;
  }
  void copy_to(std::span<std::byte> to) {
    const std::size_t count = std::min(to.size(), size_);
    std::memcpy(to.data(), data_, count);
    skip(count);
  }

 private:
  void skip(std::size_t count) {
    data_ += count;
    size_ -= count;
  }
  const std::uint8_t* data_;
  std::size_t size_;
};

struct Machine {
  explicit Machine(const FakeMemory& bytes, clonesafe::block::Disk disk)
      : memory(bytes.memory()), device("disk", std::move(disk), "serial") {}
  void run() {
    io.restart();
    io.poll();
  }
  GuestMemory memory;
  CountingLine line;
  boost::asio::io_context io;
  BlockDevice device;
  MmioTransport transport{"disk", memory, line, io, device};
  FakeRegisters registers{transport};
};

void set_up(const Machine& machine, Input& input) {
  // Any of the features, and rings mostly where they can be.
  machine.registers.negotiate(kFeatureVersion1 |
                              (input.take<std::uint32_t>() & machine.device.features()));
  const auto& registers = machine.registers;
  registers.write(kRegisterQueueSelect, 0);
  registers.write(kRegisterQueueSize, 1u << (input.take<std::uint8_t>() % 9));
  const auto place = [&](std::uint32_t low) {
    registers.write(low, static_cast<std::uint32_t>(FakeMemory::kStart) +
                             input.take<std::uint16_t>() / 16 * 16);
  };
  place(kRegisterQueueDescriptorsLow);
  place(kRegisterQueueDriverLow);
  place(kRegisterQueueDeviceLow);
  registers.write(kRegisterQueueReady, 1);
  registers.go();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace clonesafe::block;
  spdlog::set_level(spdlog::level::off);
  Input input(data, size);
  const UniqueFd image = make_image();
  const auto mode = input.take<std::uint8_t>();
  const bool read_only = mode % 3 == 0;
  const bool layered = mode % 3 == 1;
  Disk disk(
      DiskImage::open(name_of(image.get()), read_only || layered ? Lock::kShared : Lock::kExclusive)
          .value(),
      read_only);
  if (layered) {
    UniqueFd file(::memfd_create("layer", MFD_CLOEXEC));
    if (!disk.add(Layer::create(std::move(file), "layer", disk.base().value()).value()))
      std::abort();
  }
  const FakeMemory bytes(kMemory);
  input.copy_to(bytes.bytes().first(input.take<std::uint16_t>() % 8192));
  Machine machine(bytes, std::move(disk));
  set_up(machine, input);
  for (int step = 0; step < 64 && !input.empty(); ++step) {
    switch (input.take<std::uint8_t>() % 8) {
      case 0:
        set_up(machine, input);
        break;
      case 1:
        machine.registers.write(input.take<std::uint16_t>() % 0x200, input.take<std::uint32_t>());
        break;
      case 2:
        machine.registers.read(input.take<std::uint16_t>() % 0x200);
        break;
      case 3: {
        const std::size_t at = input.take<std::uint16_t>();
        input.copy_to(bytes.bytes().subspan(at).first(std::min<std::size_t>(64, kMemory - at)));
        break;
      }
      case 4: {
        machine.transport.pause();
        StateEncoder state;
        machine.transport.save(state);
        machine.transport.resume();
        break;
      }
      default:
        machine.registers.notify(0);
        break;
    }
    machine.run();
  }
  machine.device.end();
  // Nothing outside the image was touched, and a base not at all.
  struct stat status{};
  if (::fstat(image.get(), &status) != 0 || status.st_size != static_cast<off_t>(kImage))
    std::abort();
  if (read_only || layered) {
    std::vector<char> now(kImage);
    if (::pread(image.get(), now.data(), now.size(), 0) != static_cast<ssize_t>(kImage) ||
        std::ranges::count(now, 'b') != static_cast<std::ptrdiff_t>(kImage))
      std::abort();
  }
  return 0;
}
