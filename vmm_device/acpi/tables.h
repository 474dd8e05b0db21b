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
#include "vmm_device/core/layout.h"

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

// The generation devices in another VMM's machine: which there are, where its four pages lie
// (page-aligned, E820-reserved, in the order of layout.h), and the edge-triggered lines on which it
// notifies.
struct GenerationTables {
  bool vmgenid = true;
  bool vmclock = true;
  bool restore_page = true;
  std::uint64_t pages = layout::kGenerationPages;
  std::uint32_t vmgenid_gsi = layout::kVmgenidGsi;
  std::uint32_t vmclock_gsi = layout::kVmclockGsi;
};

// An SSDT for a VMM with tables of its own, to be listed in its XSDT. It brings a Generic Event
// Device too, named \_SB.CSGE.
Result<std::vector<std::byte>> build_generation_ssdt(const GenerationTables& tables);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_ACPI_TABLES_H_
