#include "vmm_device/machine/machine.h"

#include <algorithm>

#include "vmm_device/acpi/tables.h"
#include "vmm_device/core/layout.h"
#include "vmm_device/kvm/cpu_template.h"
#include "vmm_device/kvm/cpuid.h"
#include "vmm_device/kvm/guest_time.h"
#include "vmm_device/machine/boot_registers.h"

namespace clonesafe {
namespace {

constexpr std::uint64_t kCom1Ports = 8;
constexpr std::uint64_t kSleepPorts = 3;

Status make_line(const kvm::Vm& vm, std::uint32_t gsi, std::unique_ptr<kvm::IrqLine>& line) {
  auto made = vm.irq_line(gsi);
  if (!made) return fail(made.error());
  line = std::move(*made);
  return {};
}

}  // namespace

Result<std::unique_ptr<Machine>> Machine::create(const MachineConfig& config, MachineHooks hooks,
                                                 boost::asio::io_context& device_thread) {
  if (auto valid = check(config); !valid) return fail(valid.error());
  auto kvm = kvm::Kvm::open();
  if (!kvm) return fail(kvm.error());
  auto ram = GuestRam::create(config.memory, hooks.track_dirty);
  if (!ram) return fail(ram.error());

  std::unique_ptr<Machine> machine(new Machine(config));
  machine->ram_ = std::move(*ram);
  auto supported = kvm->supported_cpuid();
  if (!supported) return fail(supported.error());
  std::vector<kvm::CpuidTable> cpuid;
  for (std::uint32_t index = 0; index < config.cpus; ++index) {
    auto table = kvm::guest_cpuid(*supported, index, config.cpus, config.masked_features,
                                  config.cpu_template);
    if (!table) return fail(table.error());
    cpuid.push_back(std::move(*table));
  }
  if (auto made = machine->create_vm(*kvm, std::move(cpuid)); !made) return fail(made.error());
  if (auto made = machine->create_devices(std::move(hooks), device_thread); !made)
    return fail(made.error());
  return machine;
}

// The order is a contract of kvm::Vm: memory slots, then what is on the in-kernel I/O bus, then
// vCPUs.
Status Machine::create_vm(const kvm::Kvm& kvm, std::vector<kvm::CpuidTable> cpuid) {
  cpuid_ = std::move(cpuid);
  auto msrs = kvm.msr_indexes();
  if (!msrs) return fail(msrs.error());
  msr_indexes_ = kvm::visible_msrs(kvm::ordered_msrs(*msrs), cpuid_.front());
  auto vm = kvm.create_vm();
  if (!vm) return fail(vm.error());
  vm_ = std::move(*vm);

  std::uint32_t slot = 0;
  for (const GuestMemory::Region& region : ram_->memory().regions()) {
    if (auto added = vm_->add_memory_slot(slot++, region.start, region.bytes, tracks_dirty());
        !added)
      return added;
  }
  if (auto added = vm_->add_memory_slot(slot, GuestAddress(layout::kGenerationPages),
                                        ram_->generation_pages());
      !added)
    return added;
  if (auto created = vm_->create_interrupt_controllers(); !created) return created;

  for (std::uint32_t index = 0; index < config_.cpus; ++index) {
    auto vcpu = vm_->create_vcpu(index);
    if (!vcpu) return fail(vcpu.error());
    if (auto set = vcpu->set_cpuid(cpuid_[index]); !set) return set;
    vcpus_.push_back(std::move(*vcpu));
  }
  return {};
}

Status Machine::create_devices(MachineHooks hooks, boost::asio::io_context& device_thread) {
  generation_.emplace(ram_->generation_pages(), config_.generation, ram_->memory());
  secrets_.emplace(ram_->memory());
  if (auto made = make_line(*vm_, layout::kVmgenidGsi, vmgenid_line_); !made) return made;
  if (auto made = make_line(*vm_, layout::kVmclockGsi, vmclock_line_); !made) return made;

  if (auto made = make_line(*vm_, layout::kCom1Gsi, serial_line_); !made) return made;
  serial_.emplace(*serial_line_, std::move(hooks.serial_output));
  ports_.attach(layout::kCom1Port, kCom1Ports, *serial_);

  const auto power = [this](PowerEvent event) {
    threads_->end({.reason = event == PowerEvent::kOff ? MachineEnd::Reason::kPowerOff
                                                       : MachineEnd::Reason::kReset,
                   .detail = {}});
  };
  sleep_.emplace(power);
  ports_.attach(layout::kSleepControlPort, kSleepPorts, *sleep_);
  reset_.emplace(power);
  ports_.attach(kKeyboardCommandPort, 1, *reset_);

  if (auto made = create_virtio(hooks, device_thread); !made) return made;
  threads_.emplace(vcpus_, ports_, mmio_, std::move(hooks.vcpus));
  return {};
}

Status Machine::create_virtio(MachineHooks& hooks, boost::asio::io_context& device_thread) {
  struct Device {
    std::string name;
    virtio::VirtioDevice* device;
  };
  std::vector<Device> devices;
  if (config_.vsock_cid != 0) {
    auto vsock =
        virtio::VsockDevice::create(device_thread, {.guest_cid = restored_ ? 0 : config_.vsock_cid,
                                                    .socket_path = hooks.vsock_path,
                                                    .held_ports = hooks.hold.vsock_ports});
    if (!vsock) return fail(vsock.error());
    vsock_ = std::move(*vsock);
    devices.push_back({"vsock", vsock_.get()});
  }
  devices.push_back({"rng", &rng_});
  if (hooks.disks.size() != config_.disks.size())
    return fail(std::to_string(hooks.disks.size()) + " disks are given, the machine has " +
                std::to_string(config_.disks.size()));
  for (std::size_t index = 0; index < hooks.disks.size(); ++index) {
    const std::string name = "disk " + std::to_string(index);
    disks_.push_back(std::make_unique<virtio::BlockDevice>(name, std::move(hooks.disks[index]),
                                                           config_.disks[index].serial));
    if (hooks.hold.disks.contains(index)) disks_.back()->hold_flushes();
    devices.push_back({name, disks_.back().get()});
  }
  disk_thread_started_ = std::move(hooks.disk_thread_started);
  if (auto made = create_nets(hooks, device_thread); !made) return made;
  for (std::size_t index = 0; index < nets_.size(); ++index)
    devices.push_back({"net " + std::to_string(index), nets_[index].get()});
  create_balloon();
  if (balloon_) devices.push_back({"balloon", balloon_.get()});
  for (std::size_t slot = 0; slot < devices.size(); ++slot) {
    auto line = vm_->irq_line(layout::kVirtioFirstGsi + static_cast<std::uint32_t>(slot));
    if (!line) return fail(line.error());
    virtio_lines_.push_back(std::move(*line));
    virtio_.push_back(std::make_unique<virtio::MmioTransport>(devices[slot].name, ram_->memory(),
                                                              *virtio_lines_.back(), device_thread,
                                                              *devices[slot].device));
    const std::uint64_t start = layout::kVirtioMmioStart + slot * layout::kVirtioMmioSize;
    virtio_doorbells_.push_back(vm_->doorbell(GuestAddress(start + virtio::kRegisterQueueNotify)));
    virtio_.back()->use_doorbell(*virtio_doorbells_.back());
    mmio_.attach(start, layout::kVirtioMmioSize, *virtio_.back());
  }
  return {};
}

Status Machine::create_nets(MachineHooks& hooks, boost::asio::io_context& device_thread) {
  if (hooks.taps.size() != config_.nets.size())
    return fail(std::to_string(hooks.taps.size()) + " taps are given, the machine has " +
                std::to_string(config_.nets.size()) + " network devices");
  hooks.macs.resize(config_.nets.size());
  for (std::size_t index = 0; index < config_.nets.size(); ++index) {
    NetConfig& net = config_.nets[index];
    if (hooks.macs[index]) net.mac = *hooks.macs[index];
    net.tap = hooks.taps[index].name;
    auto device = virtio::NetDevice::create(
        device_thread, "net " + std::to_string(index), std::move(hooks.taps[index]),
        {.mac = net.mac, .hold = hooks.hold.network, .drop_queued = clone_});
    if (!device) return fail(device.error());
    nets_.push_back(std::move(*device));
  }
  return {};
}

void Machine::create_balloon() {
  if (!config_.balloon) return;
  discard_.emplace(ram_->memory(), ram_->below());
  // What the guest's firmware tables are in, and the pages that the agent registered, are not free,
  // whatever a driver says.
  const auto kept = [this] {
    std::vector<std::uint64_t> pages;
    for (std::uint64_t at = layout::kReservedLow / PageSet::kPageSize * PageSet::kPageSize;
         at < layout::kKernelLoad; at += PageSet::kPageSize)
      pages.push_back(at / PageSet::kPageSize);
    const auto add = [&](GuestAddress address) {
      pages.push_back(address.value() / PageSet::kPageSize);
    };
    if (const auto registered = generation_->registration()) add(registered->address);
    for (const SecretPage& page : secrets_->pages()) add(page.address);
    std::ranges::sort(pages);
    return pages;
  };
  balloon_ = std::make_unique<virtio::BalloonDevice>(
      *discard_, config_.memory,
      virtio::BalloonOptions{.reporting = config_.balloon->reporting, .kept = kept});
}

void Machine::release() {
  for (const auto& net : nets_) net->release();
  if (vsock_) vsock_->release();
  for (const auto& disk : disks_) disk->release();
}

Status Machine::boot(std::span<const std::byte> kernel, std::span<const std::byte> initrd,
                     const std::string& command_line) {
  auto tables = build_acpi_tables({.cpus = config_.cpus,
                                   .vmgenid = config_.generation.vmgenid,
                                   .vmclock = config_.generation.vmclock,
                                   .restore_page = config_.generation.restore_page,
                                   .virtio_devices = static_cast<std::uint32_t>(virtio_.size())});
  if (!tables) return fail(tables.error());
  auto entry = load_linux(
      ram_->memory(),
      {.kernel = kernel, .initrd = initrd, .command_line = command_line, .acpi = *tables});
  if (!entry) return fail(entry.error());
  SystemEntropy entropy;
  if (auto written = generation_->write_boot(entropy); !written) return written;
  for (const kvm::Vcpu& vcpu : vcpus_) {
    if (auto set = set_firmware_msrs(vcpu); !set) return set;
  }
  // The others wait for INIT and SIPI through the in-kernel local APICs.
  return set_boot_registers(vcpus_.front(), *entry);
}

Status Machine::start() {
  for (const auto& disk : disks_) {
    if (auto started = disk->start(disk_thread_started_); !started) return started;
  }
  return threads_->start();
}

void Machine::stop() {
  threads_->stop();
  for (const auto& disk : disks_) disk->end();
}

// Disks' threads use the transports.
Machine::~Machine() {
  for (const auto& disk : disks_) disk->end();
}

Result<TscReading> Machine::read_tsc() const {
  auto tsc = kvm::read_tsc(vcpus_.front());
  if (!tsc) return fail(tsc.error());
  auto khz = vcpus_.front().tsc_khz();
  if (!khz) return fail(khz.error());
  return TscReading{.tsc = *tsc, .khz = *khz};
}

}  // namespace clonesafe
