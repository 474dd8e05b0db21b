#include "vmm_device/machine/boot_registers.h"

namespace clonesafe {
namespace {

constexpr std::uint16_t kCodeSelector = 0x10, kDataSelector = 0x18;
constexpr std::uint64_t kCr0ProtectedMode = 1, kCr0ExtensionType = 1 << 4,
                        kCr0NumericError = 1 << 5, kCr0Paging = std::uint64_t{1} << 31;
constexpr std::uint64_t kCr4PhysicalAddressExtension = 1 << 5;
constexpr std::uint64_t kEferLongModeEnable = 1 << 8, kEferLongModeActive = 1 << 10;
constexpr std::uint64_t kFlagsReserved = 2;

constexpr std::uint32_t kMsrMiscEnable = 0x1a0;
constexpr std::uint64_t kFastStrings = 1;
constexpr std::uint32_t kMsrMtrrDefaultType = 0x2ff;
// MTRRs on, everything write-back: the kernel maps reserved pages by it, and VMGENID and VMCLOCK
// must never be mapped uncached.
constexpr std::uint64_t kMtrrEnabledWriteBack = (1 << 11) | 6;

kvm_segment segment(std::uint16_t selector, std::uint8_t type, bool code) {
  kvm_segment result{};
  result.limit = 0xffffffff;
  result.selector = selector;
  result.type = type;
  result.present = 1;
  result.s = 1;
  result.g = 1;
  result.l = code ? 1 : 0;
  result.db = code ? 0 : 1;
  return result;
}

}  // namespace

Status set_boot_registers(const kvm::Vcpu& vcpu, const BootEntry& entry) {
  auto current = vcpu.get<kvm_sregs2>(CLONESAFE_KVM(KVM_GET_SREGS2));
  if (!current) return fail(current.error());
  kvm_sregs2 system = *current;
  system.cs = segment(kCodeSelector, 0xb, true);
  system.ds = system.es = system.fs = system.gs = system.ss = segment(kDataSelector, 0x3, false);
  system.gdt.base = kBootGdt;
  system.gdt.limit = sizeof kBootGdtEntries - 1;
  system.idt.base = 0;
  system.idt.limit = 0;
  system.cr0 = kCr0ProtectedMode | kCr0ExtensionType | kCr0NumericError | kCr0Paging;
  system.cr3 = kBootPageTables;
  system.cr4 = kCr4PhysicalAddressExtension;
  system.efer = kEferLongModeEnable | kEferLongModeActive;
  if (auto set = vcpu.set(CLONESAFE_KVM(KVM_SET_SREGS2), system); !set) return set;

  kvm_regs registers{};
  registers.rip = entry.instruction.value();
  registers.rsi = entry.boot_params.value();
  registers.rsp = kBootStack;
  registers.rflags = kFlagsReserved;
  return vcpu.set(CLONESAFE_KVM(KVM_SET_REGS), registers);
}

Status set_firmware_msrs(const kvm::Vcpu& vcpu) {
  const kvm_msr_entry entries[] = {
      {.index = kMsrMiscEnable, .reserved = 0, .data = kFastStrings},
      {.index = kMsrMtrrDefaultType, .reserved = 0, .data = kMtrrEnabledWriteBack},
  };
  return vcpu.set_msrs(entries);
}

}  // namespace clonesafe
