#include "vmm_device/kvm/vm_state.h"

#include <cerrno>

#include "vmm_device/core/state_codec.h"

namespace clonesafe::kvm {
namespace {

constexpr std::uint32_t kChips[] = {KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
                                    KVM_IRQCHIP_IOAPIC};

}  // namespace

Result<std::vector<std::byte>> save_interrupt_controllers(const Vm& vm) {
  StateEncoder state;
  for (const std::uint32_t id : kChips) {
    kvm_irqchip chip{};
    chip.chip_id = id;
    auto got = vm.get(CLONESAFE_KVM(KVM_GET_IRQCHIP), chip);
    if (!got) return fail(got.error());
    state.put_struct(*got);
  }
  return state.take();
}

Status restore_interrupt_controllers(const Vm& vm, std::span<const std::byte> bytes) {
  StateDecoder state("interrupt controllers", bytes);
  std::array<kvm_irqchip, std::size(kChips)> chips{};
  for (std::size_t i = 0; i < chips.size(); ++i) {
    auto chip = state.get_struct<kvm_irqchip>();
    if (!chip) return fail(chip.error());
    if (chip->chip_id != kChips[i])
      return state.corrupt("controller " + std::to_string(chip->chip_id) + ", expected " +
                           std::to_string(kChips[i]));
    chips[i] = *chip;
  }
  if (auto done = state.finish(); !done) return done;
  for (const kvm_irqchip& chip : chips) {
    if (auto set = vm.set(CLONESAFE_KVM(KVM_SET_IRQCHIP), chip); !set) return set;
  }
  return {};
}

Status announce_pause(const Vcpu& vcpu) {
  auto done = vcpu.command(CLONESAFE_KVM(KVM_KVMCLOCK_CTRL), 0);
  if (!done && done.error().error_number() == EINVAL) return {};
  return done;
}

}  // namespace clonesafe::kvm
