#ifndef CLONESAFE_VMM_DEVICE_KVM_VM_STATE_H_
#define CLONESAFE_VMM_DEVICE_KVM_VM_STATE_H_

#include <linux/kvm.h>

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/kvm/kvm.h"

// What KVM keeps for the whole machine beside its time: interrupt controllers. All vCPUs are
// parked.
namespace clonesafe::kvm {

Result<std::vector<std::byte>> save_interrupt_controllers(const Vm& vm);
// After the vCPUs' local APICs: the IOAPIC delivers what was pending as soon as it is set.
Status restore_interrupt_controllers(const Vm& vm, std::span<const std::byte> state);

// Tells the guest that it was stopped, so that its watchdogs don't count the pause. Before it runs
// again. No error for a guest that doesn't use the KVM clock.
Status announce_pause(const Vcpu& vcpu);

}  // namespace clonesafe::kvm

#endif  // CLONESAFE_VMM_DEVICE_KVM_VM_STATE_H_
