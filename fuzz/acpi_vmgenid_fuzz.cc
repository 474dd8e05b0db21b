// The recognisers of VMGENID's address over arbitrary table bytes.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "libclonesafe/physical/acpi_vmgenid.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto found = clonesafe::find_vmgenid(std::as_bytes(std::span(data, size)));
  // What is found will be mapped: it must be an address that can be one.
  if (found && (found->address == 0 || found->address % 8 != 0 || found->address >> 52 != 0)) {
    std::abort();
  }
  return 0;
}
