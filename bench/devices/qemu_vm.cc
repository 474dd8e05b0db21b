#include "bench/devices/qemu_vm.h"

#include <gtest/gtest.h>

#include <utility>

#include "vmm_device/net/namespace.h"

namespace clonesafe::bench {

std::unique_ptr<QemuVm> QemuVm::boot(const std::filesystem::path& folder,
                                     const QemuOptions& options) {
  std::filesystem::create_directories(folder);
  const auto console = folder / "console";
  const lab::Lab& lab = lab::Lab::get();
  const std::vector<std::string> arguments = {
      options.program, "-M", "microvm,accel=kvm,acpi=on,rtc=off,pic=off,pit=off",
      // clonevm's devices speak virtio 1 only.
      "-global", "virtio-mmio.force-legacy=off", "-cpu", "host", "-m", options.memory, "-smp",
      std::to_string(options.cpus), "-name", "qemu,debug-threads=on", "-nodefaults",
      "-no-user-config", "-display", "none", "-no-reboot", "-kernel", lab.kernel, "-initrd",
      lab.initrd, "-append", "console=ttyS0 panic=-1 quiet " + options.cmdline, "-serial",
      "file:" + console.string(), "-drive",
      "id=disk,if=none,format=raw,cache=writeback,aio=threads,file=" + options.disk.string(),
      "-device", "virtio-blk-device,drive=disk,num-queues=1", "-netdev",
      "tap,id=net,script=no,downscript=no,vhost=off,ifname=" + options.tap, "-device",
      "virtio-net-device,netdev=net,mac=52:54:00:00:00:01", "-device",
      "vhost-vsock-device,guest-cid=" + std::to_string(options.cid)};
  auto process = [&]() -> Result<lab::Process> {
    const auto inside = network::InNamespace::enter(options.network_namespace);
    if (!inside) return fail(inside.error());
    return lab::Process::start(arguments);
  }();
  if (!process) {
    ADD_FAILURE() << process.error().message();
    return nullptr;
  }
  std::unique_ptr<QemuVm> vm(new QemuVm(options.cid, std::move(*process)));
  if (!lab::eventually(lab::kBootTime, [&] {
        return lab::read_file(console).find("READY") != std::string::npos;
      })) {
    ADD_FAILURE() << "QEMU's guest is not ready: " << lab::read_file(console);
    return nullptr;
  }
  return vm;
}

}  // namespace clonesafe::bench
