// devices: clonevm's virtio devices beside those of QEMU's microvm, in guests of the same kernel
// and initramfs on the same host.
#ifndef CLONESAFE_BENCH_DEVICES_QEMU_VM_H_
#define CLONESAFE_BENCH_DEVICES_QEMU_VM_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "tests/lab/nested/lab_vm.h"

namespace clonesafe::bench {

struct QemuOptions {
  std::string program;  // qemu-system-x86_64
  std::string cmdline;
  std::string memory;
  int cpus = 1;
  std::filesystem::path disk;  // raw
  std::string tap;
  std::string network_namespace;
  std::uint32_t cid = 0;
};

// The lab's guest in QEMU's microvm, with a disk, a network and a vsock on virtio-mmio. The disk
// goes through the host's page cache, as clonevm's does; the tap is served by QEMU itself (no
// vhost-net); vsock is the kernel's vhost-vsock, for QEMU has no other.
class QemuVm {
 public:
  // Boots and waits until the guest says READY on its console. A failure of the test, and null, if
  // it does not.
  static std::unique_ptr<QemuVm> boot(const std::filesystem::path& folder, const QemuOptions&);

  lab::Guest guest() const { return lab::Guest(cid_); }
  lab::Process& process() { return process_; }

 private:
  QemuVm(std::uint32_t cid, lab::Process process) : cid_(cid), process_(std::move(process)) {}
  std::uint32_t cid_;
  lab::Process process_;
};

}  // namespace clonesafe::bench

#endif  // CLONESAFE_BENCH_DEVICES_QEMU_VM_H_
