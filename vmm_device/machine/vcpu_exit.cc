#include "vmm_device/machine/vcpu_exit.h"

#include <cstdio>

namespace clonesafe {
namespace {

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

// Where a processor starts after INIT (Intel SDM 3A, 10.1.4; AMD APM 2, 14.1.3).
bool is_reset(const kvm_regs& registers, const kvm_sregs2& system_registers) {
  return registers.rip == 0xfff0 && system_registers.cs.base == 0xffff0000 &&
         (system_registers.cr0 & 1) == 0;
}

}  // namespace

VcpuExit note_exit(const kvm_run& run) {
  VcpuExit exit{.reason = run.exit_reason};
  if (run.exit_reason == KVM_EXIT_IO) {
    exit.address = run.io.port;
    exit.write = run.io.direction == KVM_EXIT_IO_OUT;
  } else if (run.exit_reason == KVM_EXIT_MMIO) {
    exit.address = run.mmio.phys_addr;
    exit.write = run.mmio.is_write != 0;
  }
  return exit;
}

std::string to_string(const VcpuExit& exit) {
  switch (exit.reason) {
    case KVM_EXIT_UNKNOWN:
      return "none";
    case KVM_EXIT_IO:
      return (exit.write ? "write to port " : "read of port ") + hex(exit.address);
    case KVM_EXIT_MMIO:
      return (exit.write ? "write at " : "read at ") + hex(exit.address);
    default:
      return "KVM exit " + std::to_string(exit.reason);
  }
}

std::string describe_failure(const kvm_run& run) {
  switch (run.exit_reason) {
    case KVM_EXIT_FAIL_ENTRY:
      return "the CPU refused to enter the guest, hardware reason " +
             hex(run.fail_entry.hardware_entry_failure_reason);
    case KVM_EXIT_INTERNAL_ERROR:
      return "KVM internal error " + std::to_string(run.internal.suberror) +
             " (1: an instruction that KVM can't emulate)";
    default:
      return "unknown KVM exit " + std::to_string(run.exit_reason);
  }
}

std::string describe_triple_fault(const std::string& vcpu, const kvm_regs& registers,
                                  const kvm_sregs2& system_registers, const VcpuExit& last) {
  std::string text = "triple fault, " + vcpu + ": ";
  if (is_reset(registers, system_registers)) text += "registers already reset by KVM: ";
  text += "rip " + hex(registers.rip) + " rsp " + hex(registers.rsp);
  text += " cr0 " + hex(system_registers.cr0) + " cr2 " + hex(system_registers.cr2);
  text += " cr3 " + hex(system_registers.cr3) + " cr4 " + hex(system_registers.cr4);
  text += " efer " + hex(system_registers.efer);
  return text + ", last exit: " + to_string(last);
}

}  // namespace clonesafe
