#ifndef CLONESAFE_VMM_DEVICE_KVM_VCPU_STATE_H_
#define CLONESAFE_VMM_DEVICE_KVM_VCPU_STATE_H_

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/core/state_codec.h"
#include "vmm_device/kvm/cpuid.h"
#include "vmm_device/kvm/kvm.h"

namespace clonesafe::kvm {

// All of a vCPU. Read and set while it is parked.
struct VcpuState {
  CpuidTable cpuid;  // as the guest was given it
  std::uint32_t tsc_khz = 0;
  kvm_mp_state run_state{};
  kvm_regs registers{};
  kvm_sregs2 system_registers{};
  kvm_xcrs extended_control{};
  std::vector<std::byte> xsave;
  kvm_debugregs debug_registers{};
  kvm_lapic_state local_apic{};
  std::vector<kvm_msr_entry> msrs;
  kvm_vcpu_events events{};
};

// The MSRs to keep, in the order in which they must be set: KVM's list and all of its paravirtual
// ones (0x4b564d00 to ff), the TSC first and the deadline timer, which is measured in it, last.
std::vector<std::uint32_t> ordered_msrs(std::span<const std::uint32_t> kvm_list);

Result<VcpuState> save_vcpu(const Vcpu& vcpu, const CpuidTable& cpuid,
                            std::span<const std::uint32_t> msr_indexes, std::size_t xsave_size);
// The end of a save. `tsc`: the vCPU's TSC as of the instant that all its clocks were read at
// (guest_time.h), in place of the one that was read with the other MSRs. Then, a deadline of 0 is a
// timer that is off, or one that has just gone off and whose interrupt may be in nobody's state: it
// is armed at the TSC's own value. At worst the guest gets one interrupt too many, which it expects
// of any timer; without it a vCPU could sleep for ever.
void settle_time(VcpuState& state, std::optional<std::uint64_t> tsc);
std::optional<std::uint64_t> saved_tsc(const VcpuState& state);

// CPUID and the TSC's frequency must have been set already, and its offset if `tsc_is_set`;
// otherwise its MSR is written. Interrupt controllers exist.
Status restore_vcpu(const Vcpu& vcpu, const VcpuState& state, std::size_t xsave_size,
                    bool tsc_is_set);

void encode(StateEncoder& encoder, const VcpuState& state);
// The bytes are untrusted; what KVM makes of the values is for restore_vcpu to find out.
Result<VcpuState> decode_vcpu(StateDecoder& decoder);

}  // namespace clonesafe::kvm

#endif  // CLONESAFE_VMM_DEVICE_KVM_VCPU_STATE_H_
