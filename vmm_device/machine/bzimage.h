#ifndef CLONESAFE_VMM_DEVICE_MACHINE_BZIMAGE_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_BZIMAGE_H_

#include <asm/bootparam.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "libclonesafe/base/error.h"

namespace clonesafe {

// A Linux x86 kernel image as the boot protocol has it (Documentation/arch/x86/boot.rst), checked:
// every size below lies within the file.
struct BzImage {
  // Of the 64-bit entry, from the start of protected_mode.
  static constexpr std::size_t kEntry64 = 0x200;

  setup_header header;                        // at 0x1f1 of the file, bytes past its end zeroed
  std::span<const std::byte> protected_mode;  // goes to 1 MiB
  std::uint64_t preferred_address;            // where the decompressor puts the kernel
  std::uint64_t init_size;                    // memory it needs from there on
  std::uint64_t initrd_address_max;  // highest address that an initrd may end at, inclusive
  std::uint32_t command_line_max;    // without the terminating zero
};

// The file is untrusted. Refuses what is not a bzImage with a 64-bit entry point.
Result<BzImage> parse_bzimage(std::span<const std::byte> file);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_BZIMAGE_H_
