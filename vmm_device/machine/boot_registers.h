#ifndef CLONESAFE_VMM_DEVICE_MACHINE_BOOT_REGISTERS_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_BOOT_REGISTERS_H_

#include "vmm_device/kvm/kvm.h"
#include "vmm_device/machine/boot.h"

namespace clonesafe {

// The state in which the boot processor enters the kernel: 64-bit mode, interrupts off, paging on
// over the tables that load_linux() wrote.
Status set_boot_registers(const kvm::Vcpu& vcpu, const BootEntry& entry);

// MSRs that firmware would set on every processor.
Status set_firmware_msrs(const kvm::Vcpu& vcpu);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_BOOT_REGISTERS_H_
