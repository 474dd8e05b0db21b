#ifndef CLONESAFE_GUEST_AGENT_SOURCES_DEVICES_H_
#define CLONESAFE_GUEST_AGENT_SOURCES_DEVICES_H_

#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "libclonesafe/physical/acpi_vmgenid.h"
#include "libclonesafe/physical/iomem.h"

namespace clonesafe::agent {

// As find_in_iomem; what is wrong in words.
Result<PhysicalRange> find_device(std::string_view iomem, std::string_view hid);

// VMGENID in the tables under `folder` (/sys/firmware/acpi/tables): DSDT, then SSDT*.
Result<VmgenidLocation> find_vmgenid_in_tables(const std::string& folder);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SOURCES_DEVICES_H_
