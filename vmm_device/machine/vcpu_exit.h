#ifndef CLONESAFE_VMM_DEVICE_MACHINE_VCPU_EXIT_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_VCPU_EXIT_H_

#include <linux/kvm.h>

#include <cstdint>
#include <string>

namespace clonesafe {

// What is kept of a vCPU's exit until the next one: where the guest was when it last spoke to us.
struct VcpuExit {
  std::uint32_t reason = KVM_EXIT_UNKNOWN;
  std::uint64_t address = 0;  // of a port or MMIO access
  bool write = false;
};
VcpuExit note_exit(const kvm_run& run);
// "write to port 0x3f8", "read at 0xd0000000", "none": KVM_EXIT_UNKNOWN is what no exit yet looks
// like.
std::string to_string(const VcpuExit& exit);

// Of an exit that the machine can't go on from: what it was.
std::string describe_failure(const kvm_run& run);

// One line on a triple fault, from the registers that the vCPU has after it. KVM resets a vCPU
// whose processor shut down before it tells us (AMD: the state is undefined); the line says so, as
// the registers then tell nothing.
std::string describe_triple_fault(const std::string& vcpu, const kvm_regs& registers,
                                  const kvm_sregs2& system_registers, const VcpuExit& last);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_VCPU_EXIT_H_
