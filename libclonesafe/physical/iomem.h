// physical: where the devices that tell of a clone lie in guest-physical memory, found without a
// driver of theirs. Pure; any bytes are safe. No C++ runtime is needed.
#ifndef CLONESAFE_PHYSICAL_IOMEM_H_
#define CLONESAFE_PHYSICAL_IOMEM_H_

#include <cstdint>
#include <string_view>

namespace clonesafe {

// A range of guest-physical addresses.
struct PhysicalRange {
  std::uint64_t start = 0;
  std::uint64_t size = 0;
};

struct IomemEntry {
  enum class Condition : std::uint8_t {
    kFound,
    kAbsent,
    kMalformed,  // `line` is not a range of addresses
    kHidden      // without CAP_SYS_ADMIN the kernel prints zeros
  };
  Condition condition = Condition::kAbsent;
  PhysicalRange range = {};
  std::string_view line = {};
};

// The first resource of the ACPI device with this _HID in the text of /proc/iomem
// ("feffb000-feffbfff : AMZNC10C:00"). The kernel lists it whether or not a driver is bound.
IomemEntry find_in_iomem(std::string_view iomem, std::string_view hid);

}  // namespace clonesafe

#endif  // CLONESAFE_PHYSICAL_IOMEM_H_
