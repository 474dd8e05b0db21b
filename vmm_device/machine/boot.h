#ifndef CLONESAFE_VMM_DEVICE_MACHINE_BOOT_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_BOOT_H_

#include <asm/bootparam.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/core/guest_memory.h"

// Puts a kernel into guest memory by the 64-bit boot protocol. No KVM in here.
namespace clonesafe {

// The memory map that the guest is told: RAM without [0x9fc00, 1 MiB), where the ACPI tables are,
// and the generation pages as reserved. Only the `ram` bytes that exist are RAM.
std::vector<boot_e820_entry> e820_map(std::uint64_t ram);

struct BootSource {
  std::span<const std::byte> kernel;  // a bzImage
  std::span<const std::byte> initrd;  // may be empty
  std::string command_line;
  std::span<const std::byte> acpi;  // the tables' image, RSDP first
};

// Where the boot processor starts.
struct BootEntry {
  GuestAddress instruction;
  GuestAddress boot_params;
};

// Loads everything, and page tables and GDT for long mode. Errors say what doesn't fit.
Result<BootEntry> load_linux(const GuestMemory& memory, const BootSource& source);

// Addresses of the start-up page tables and GDT, for the vCPU's registers.
inline constexpr std::uint64_t kBootGdt = 0x500;
inline constexpr std::uint64_t kBootPageTables = 0x9000;
inline constexpr std::uint64_t kBootStack = 0x8ff0;
inline constexpr std::uint64_t kBootGdtEntries[] = {
    0,                   // null
    0,                   // unused
    0x00af9b000000ffff,  // 0x10 __BOOT_CS: 64-bit code
    0x00cf93000000ffff,  // 0x18 __BOOT_DS: data
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_BOOT_H_
