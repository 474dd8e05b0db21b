#ifndef CLONESAFE_VMM_DEVICE_ACPI_DSDT_H_
#define CLONESAFE_VMM_DEVICE_ACPI_DSDT_H_

#include "vmm_device/acpi/aml.h"
#include "vmm_device/acpi/tables.h"

namespace clonesafe {

// The DSDT's definition block: everything after the table header.
aml::Bytes dsdt_body(const AcpiConfig& config);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_ACPI_DSDT_H_
