#ifndef CLONESAFE_VMM_DEVICE_ACPI_DSDT_H_
#define CLONESAFE_VMM_DEVICE_ACPI_DSDT_H_

#include "vmm_device/acpi/aml.h"
#include "vmm_device/acpi/tables.h"

namespace clonesafe {

// The DSDT's definition block: everything after the table header.
aml::Bytes dsdt_body(const AcpiConfig& config);
// The same of an SSDT with the generation devices alone.
aml::Bytes generation_ssdt_body(const GenerationTables& tables);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_ACPI_DSDT_H_
