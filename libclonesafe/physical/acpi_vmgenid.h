#ifndef CLONESAFE_PHYSICAL_ACPI_VMGENID_H_
#define CLONESAFE_PHYSICAL_ACPI_VMGENID_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace clonesafe {

// Where the 16 bytes of VMGENID are. The device has no _CRS, so /proc/iomem doesn't name it; the
// address stands in the AML, in one of two shapes. These are recognisers of those shapes, not an
// AML interpreter: what they don't know they don't find.
struct VmgenidLocation {
  std::uint64_t address = 0;  // guest-physical, 8-byte-aligned
  std::string_view shape;     // "qemu" or "static package"
};

// In one table (DSDT or SSDT, header included). Pure; any bytes are safe.
//
// "static package" (Firecracker and clonevm): a Device whose body holds the string
// "VM_Gen_Counter" and `Name (ADDR, Package {low, high})`.
// "qemu": a table that holds the same string and `Name (VGIA, <integer>)`; the id is 40 bytes into
// the page at VGIA. VGIA is 0 where the firmware didn't place the page.
std::optional<VmgenidLocation> find_vmgenid(std::span<const std::byte> table);

}  // namespace clonesafe

#endif  // CLONESAFE_PHYSICAL_ACPI_VMGENID_H_
