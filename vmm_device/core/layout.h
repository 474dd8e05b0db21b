#ifndef CLONESAFE_VMM_DEVICE_CORE_LAYOUT_H_
#define CLONESAFE_VMM_DEVICE_CORE_LAYOUT_H_

#include <cstdint>

// Where things are in the guest: physical addresses, ports and interrupt lines. One file, because
// ACPI tables, E820 map, KVM slots and devices must agree. docs/machine.md shows it as a table.
namespace clonesafe::layout {

// RAM: [0, 3 GiB), and the rest from 4 GiB.
inline constexpr std::uint64_t kLowRamEnd = 0xc0000000;
inline constexpr std::uint64_t kHighRamStart = 0x100000000;

// Low memory: boot structures below the extended BIOS data area, ACPI tables in the BIOS range
// (E820 reserved from 0x9fc00 to 1 MiB).
inline constexpr std::uint64_t kBootParams = 0x7000;
inline constexpr std::uint64_t kCommandLine = 0x20000;
inline constexpr std::uint64_t kCommandLineMax = 0x800;
inline constexpr std::uint64_t kReservedLow = 0x9fc00;
inline constexpr std::uint64_t kAcpiRsdp = 0xe0000;
inline constexpr std::uint64_t kAcpiEnd = 0x100000;
inline constexpr std::uint64_t kKernelLoad = 0x100000;

// virtio-mmio: one page and one interrupt line a device, in slot order.
inline constexpr std::uint64_t kVirtioMmioStart = 0xd0000000;
inline constexpr std::uint64_t kVirtioMmioSize = 0x1000;
inline constexpr std::uint32_t kVirtioFirstGsi = 5;
inline constexpr std::uint32_t kVirtioMaxDevices = 12;

// Generation devices: a memory slot of its own, outside RAM, so that no snapshot of RAM can hold a
// seed.
inline constexpr std::uint64_t kGenerationPages = 0xfeff0000;
inline constexpr std::uint64_t kVmgenidPage = kGenerationPages;
inline constexpr std::uint64_t kVmclockPage = kGenerationPages + 0x1000;
inline constexpr std::uint64_t kRestorePage = kGenerationPages + 0x2000;
inline constexpr std::uint64_t kSeedPage = kGenerationPages + 0x3000;
inline constexpr std::uint64_t kGenerationPagesSize = 0x4000;
// Edge-triggered lines to the ACPI Generic Event Device.
inline constexpr std::uint32_t kVmgenidGsi = 20;
inline constexpr std::uint32_t kVmclockGsi = 21;

// Interrupt controllers and what KVM needs on Intel hosts.
inline constexpr std::uint64_t kIoApic = 0xfec00000;
inline constexpr std::uint64_t kLocalApic = 0xfee00000;
inline constexpr std::uint64_t kKvmIdentityMap = 0xfffbc000;
inline constexpr std::uint64_t kKvmTss = 0xfffbd000;

// Ports: COM1, and the sleep and reset registers that the hardware-reduced FADT names.
inline constexpr std::uint16_t kCom1Port = 0x3f8;
inline constexpr std::uint32_t kCom1Gsi = 4;
inline constexpr std::uint16_t kSleepControlPort = 0x600;
inline constexpr std::uint16_t kSleepStatusPort = 0x601;
inline constexpr std::uint16_t kResetPort = 0x602;
inline constexpr std::uint8_t kSleepTypeS5 = 5;
inline constexpr std::uint8_t kResetValue = 0x42;

}  // namespace clonesafe::layout

#endif  // CLONESAFE_VMM_DEVICE_CORE_LAYOUT_H_
