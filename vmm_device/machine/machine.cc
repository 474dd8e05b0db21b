#include "vmm_device/machine/machine.h"

#include "vmm_device/core/layout.h"
#include "vmm_device/kvm/cpuid.h"
#include "vmm_device/machine/boot_registers.h"

namespace clonesafe {
namespace {

constexpr std::uint64_t kCom1Ports = 8;
constexpr std::uint64_t kSleepPorts = 3;

}  // namespace

Result<std::unique_ptr<Machine>> Machine::create(const MachineConfig& config, MachineHooks hooks) {
  auto kvm = kvm::Kvm::open();
  if (!kvm) return fail(kvm.error());
  auto ram = GuestRam::create(config.memory);
  if (!ram) return fail(ram.error());

  std::unique_ptr<Machine> machine(new Machine(config));
  machine->ram_ = std::move(*ram);
  if (auto made = machine->create_vm(*kvm); !made) return fail(made.error());
  if (auto made = machine->create_devices(std::move(hooks)); !made) return fail(made.error());
  return machine;
}

// The order is a contract of kvm::Vm: memory slots, then what is on the in-kernel I/O bus, then
// vCPUs.
Status Machine::create_vm(const kvm::Kvm& kvm) {
  auto supported = kvm.supported_cpuid();
  if (!supported) return fail(supported.error());
  auto vm = kvm.create_vm();
  if (!vm) return fail(vm.error());
  vm_ = std::move(*vm);

  std::uint32_t slot = 0;
  for (const GuestMemory::Region& region : ram_->memory().regions()) {
    if (auto added = vm_->add_memory_slot(slot++, region.start, region.bytes); !added) return added;
  }
  if (auto added = vm_->add_memory_slot(slot, GuestAddress(layout::kGenerationPages),
                                        ram_->generation_pages());
      !added)
    return added;
  if (auto created = vm_->create_interrupt_controllers(); !created) return created;

  for (std::uint32_t index = 0; index < config_.cpus; ++index) {
    auto vcpu = vm_->create_vcpu(index);
    if (!vcpu) return fail(vcpu.error());
    auto cpuid = kvm::guest_cpuid(*supported, index, config_.cpus, config_.masked_features);
    if (!cpuid) return fail(cpuid.error());
    if (auto set = vcpu->set_cpuid(*cpuid); !set) return set;
    vcpus_.push_back(std::move(*vcpu));
  }
  return {};
}

Status Machine::create_devices(MachineHooks hooks) {
  auto com1 = vm_->irq_line(layout::kCom1Gsi);
  if (!com1) return fail(com1.error());
  lines_.reserve(1);  // devices keep references to their lines
  serial_.emplace(lines_.emplace_back(std::move(*com1)), std::move(hooks.serial_output));
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

  threads_.emplace(vcpus_, ports_, mmio_, std::move(hooks.vcpus));
  return {};
}

Result<std::vector<std::byte>> Machine::acpi_tables() const {
  return std::vector<std::byte>();
}

Status Machine::boot(std::span<const std::byte> kernel, std::span<const std::byte> initrd,
                     const std::string& command_line) {
  auto tables = acpi_tables();
  if (!tables) return fail(tables.error());
  auto entry = load_linux(
      ram_->memory(),
      {.kernel = kernel, .initrd = initrd, .command_line = command_line, .acpi = *tables});
  if (!entry) return fail(entry.error());
  for (const kvm::Vcpu& vcpu : vcpus_) {
    if (auto set = set_firmware_msrs(vcpu); !set) return set;
  }
  // The others wait for INIT and SIPI through the in-kernel local APICs.
  return set_boot_registers(vcpus_.front(), *entry);
}

}  // namespace clonesafe
