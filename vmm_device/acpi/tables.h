// acpi: the tables by which the guest finds its processors, interrupts and devices; no KVM in it.
//
// The machine is hardware-reduced ACPI: no SCI, no PM timer, no fixed hardware; sleep and reset
// registers are ports, events come through the Generic Event Device. Addresses, ports and lines are
// those of vmm_device/core/layout.h.
#ifndef CLONESAFE_VMM_DEVICE_ACPI_TABLES_H_
#define CLONESAFE_VMM_DEVICE_ACPI_TABLES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe {

struct AcpiConfig {
  std::uint32_t cpus = 1;  // APIC ids 0 to cpus - 1
  bool vmgenid = true;
  bool vmclock = true;
  bool restore_page = true;
  std::uint32_t virtio_devices = 0;  // virtio-mmio slots 0 to virtio_devices - 1
};

// RSDP, DSDT, FADT, MADT and XSDT, to be copied to guest address layout::kAcpiRsdp. Equal
// configurations give equal bytes.
Result<std::vector<std::byte>> build_acpi_tables(const AcpiConfig& config);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_ACPI_TABLES_H_
