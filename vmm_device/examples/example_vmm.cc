// The smallest VMM that embeds the generation devices: KVM, 64 KiB of memory and a guest of a few
// instructions that tells its VM Generation ID. It boots, is snapshotted, and is restored twice:
//
//   boot     8619d3a83390fe32a3cb16029bf197c3
//   resumed  8619d3a83390fe32a3cb16029bf197c3
//   clone 1  b20bc7040b635a00b80a2a7c3065a35c
//   clone 2  a9eaf5b8c527687e4b5119f162572bbd
//
// Of this project it uses vmm_device/generation alone. What a real VMM has to add is marked so: >>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/generation/generation_devices.h"

namespace {

using namespace clonesafe;

constexpr std::size_t kRamSize = 0x10000;
constexpr std::uint16_t kPort = 0x10;
// 32-bit code at address 0: the 16 bytes at 0xfeff0000 (layout::kVmgenidPage) go to the port, four
// at a time; then it halts, and begins again when it is run again.
constexpr unsigned char kGuest[] = {
    0xa1, 0x00, 0x00, 0xff, 0xfe, 0xe7, kPort,  // mov eax, [0xfeff0000]; out 0x10, eax
    0xa1, 0x04, 0x00, 0xff, 0xfe, 0xe7, kPort,  //
    0xa1, 0x08, 0x00, 0xff, 0xfe, 0xe7, kPort,  //
    0xa1, 0x0c, 0x00, 0xff, 0xfe, 0xe7, kPort,  //
    0xf4, 0xeb, 0xe1};                          // hlt; jmp 0
static_assert(layout::kVmgenidPage == 0xfeff0000);

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "example_vmm: %s\n", why.c_str());
  std::exit(1);  // NOLINT(concurrency-mt-unsafe): one thread
}
[[noreturn]] void give_up(const char* what) {
  die(Error::from_errno(what, errno).message());
}
void check(const Status& status) {
  if (!status) die(status.error().message());
}
std::span<std::byte> map(std::size_t size) {
  void* const memory =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) give_up("mmap");
  return {static_cast<std::byte*>(memory), size};
}

struct Snapshot {
  std::vector<std::byte> ram;         // without the generation pages: they are no part of RAM
  std::vector<std::byte> generation;  // the devices' own section
  kvm_regs regs;
  kvm_sregs sregs;
};

class Vm {
 public:
  Vm();
  void boot();
  std::string run();  // until the guest halts; what it wrote
  Snapshot snapshot() const;
  void resume();
  void restore(const Snapshot& snapshot);

 private:
  template <typename T>
  void call(const UniqueFd& fd, unsigned long request, T argument, const char* what) const {
    if (::ioctl(fd.get(), request, argument) < 0) give_up(what);
  }
  void add_memory(std::uint32_t slot, std::uint64_t address, std::span<std::byte> memory) const;

  const std::span<std::byte> ram_ = map(kRamSize);
  // A mapping of their own, so that nothing that copies RAM can copy a seed.
  const std::span<std::byte> pages_ = map(layout::kGenerationPagesSize);
  const GuestMemory memory_{{{GuestAddress(0), ram_}}};
  GenerationDevices generation_{pages_.first<layout::kGenerationPagesSize>(), {}, memory_};
  SystemEntropy entropy_;
  UniqueFd vm_;
  UniqueFd vcpu_;
  kvm_run* run_ = nullptr;
};

Vm::Vm() {
  const UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm) give_up("/dev/kvm");
  vm_ = UniqueFd(::ioctl(kvm.get(), KVM_CREATE_VM, 0));
  if (!vm_) give_up("KVM_CREATE_VM");
  add_memory(0, 0, ram_);
  add_memory(1, layout::kGenerationPages, pages_);
  vcpu_ = UniqueFd(::ioctl(vm_.get(), KVM_CREATE_VCPU, 0));
  if (!vcpu_) give_up("KVM_CREATE_VCPU");
  const auto size = static_cast<std::size_t>(::ioctl(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0));
  void* const run = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_.get(), 0);
  if (run == MAP_FAILED) give_up("mmap of kvm_run");
  run_ = static_cast<kvm_run*>(run);
  // >> The guest finds the pages by ACPI: build_generation_ssdt() of vmm_device/acpi in the XSDT,
  // >> and the four pages reserved in the E820 map.
}

void Vm::add_memory(std::uint32_t slot, std::uint64_t address, std::span<std::byte> memory) const {
  const kvm_userspace_memory_region region = {
      .slot = slot,
      .flags = 0,
      .guest_phys_addr = address,
      .memory_size = memory.size(),
      .userspace_addr = reinterpret_cast<std::uintptr_t>(memory.data())};
  call(vm_, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
}

void Vm::boot() {
  std::memcpy(ram_.data(), kGuest, sizeof kGuest);
  kvm_sregs sregs{};
  call(vcpu_, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
  const kvm_segment flat = {.base = 0,
                            .limit = 0xffffffff,
                            .selector = 16,
                            .type = 3,
                            .present = 1,
                            .db = 1,
                            .s = 1,
                            .g = 1};
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
  sregs.cs = flat;
  sregs.cs.selector = 8;
  sregs.cs.type = 11;
  sregs.cr0 |= 1;  // protected mode
  call(vcpu_, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
  const kvm_regs regs = {.rip = 0, .rflags = 2};
  call(vcpu_, KVM_SET_REGS, &regs, "KVM_SET_REGS");

  check(generation_.write_boot(entropy_));
}

std::string Vm::run() {
  std::string text;
  for (;;) {
    call(vcpu_, KVM_RUN, 0, "KVM_RUN");
    if (run_->exit_reason == KVM_EXIT_HLT) return text;
    if (run_->exit_reason != KVM_EXIT_IO || run_->io.port != kPort || run_->io.size != 4)
      die("the guest stopped with exit reason " + std::to_string(run_->exit_reason));
    const auto* bytes = reinterpret_cast<const unsigned char*>(run_) + run_->io.data_offset;
    for (int i = 0; i < 4; ++i) {
      char digits[3];
      std::snprintf(digits, sizeof digits, "%02x", bytes[i]);
      text += digits;
    }
  }
}

// With no vCPU running.
Snapshot Vm::snapshot() const {
  StateEncoder encoder;
  generation_.save(encoder);
  Snapshot taken = {
      .ram = {ram_.begin(), ram_.end()}, .generation = encoder.take(), .regs = {}, .sregs = {}};
  call(vcpu_, KVM_GET_REGS, &taken.regs, "KVM_GET_REGS");
  call(vcpu_, KVM_GET_SREGS, &taken.sregs, "KVM_GET_SREGS");
  return taken;
}

// The source goes on: same identity, but its generators must be seeded anew.
void Vm::resume() {
  check(generation_.write_resume(entropy_));
  // >> Raise layout::kVmclockGsi.
}

void Vm::restore(const Snapshot& snapshot) {
  std::memcpy(ram_.data(), snapshot.ram.data(), snapshot.ram.size());
  call(vcpu_, KVM_SET_SREGS, &snapshot.sregs, "KVM_SET_SREGS");
  call(vcpu_, KVM_SET_REGS, &snapshot.regs, "KVM_SET_REGS");

  StateDecoder decoder("generation", snapshot.generation);
  check(generation_.restore(decoder));
  // Before any vCPU runs, in the process that runs it.
  check(generation_.write_restore(entropy_, RestoreKind::kClone, {}));
  // >> Raise layout::kVmgenidGsi and kVmclockGsi, once the interrupt controllers are restored.
}

}  // namespace

int main() {
  Vm source;
  source.boot();
  std::printf("boot     %s\n", source.run().c_str());
  const Snapshot snapshot = source.snapshot();
  source.resume();
  std::printf("resumed  %s\n", source.run().c_str());
  for (int number = 1; number <= 2; ++number) {
    Vm clone;
    clone.restore(snapshot);
    std::printf("clone %d  %s\n", number, clone.run().c_str());
  }
  return 0;
}
