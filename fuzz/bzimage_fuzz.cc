// The kernel image is the operator's file, but a wrong one must not crash the VMM: parse it, and
// load what parses into a guest that is just large enough for small kernels.
#include <cstdlib>
#include <span>

#include "vmm_device/machine/boot.h"
#include "vmm_device/machine/bzimage.h"
#include "vmm_device/machine/guest_ram.h"

using namespace clonesafe;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  const auto image = parse_bzimage(file);
  if (!image) return 0;
  if (image->protected_mode.data() < file.data() ||
      image->protected_mode.data() + image->protected_mode.size() > file.data() + file.size())
    std::abort();
  static const auto ram = GuestRam::create(std::uint64_t{64} << 20);
  static const std::byte initrd[4096] = {};
  const auto entry = load_linux(
      ram->memory(), {.kernel = file, .initrd = initrd, .command_line = "quiet", .acpi = {}});
  if (entry && entry->instruction.value() >= ram->size()) std::abort();
  return 0;
}
