#ifndef CLONESAFE_GUEST_AGENT_SOURCES_IOMEM_H_
#define CLONESAFE_GUEST_AGENT_SOURCES_IOMEM_H_

#include <cstdint>
#include <string_view>

#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// A range of guest-physical addresses.
struct PhysicalRange {
  std::uint64_t start = 0;
  std::uint64_t size = 0;
};

// The first resource of the ACPI device with this _HID in the text of /proc/iomem
// ("feffb000-feffbfff : AMZNC10C:00"). The kernel lists it whether or not a driver is bound.
Result<PhysicalRange> find_in_iomem(std::string_view iomem, std::string_view hid);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SOURCES_IOMEM_H_
