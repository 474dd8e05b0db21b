#ifndef CLONESAFE_CORE_PHYSICAL_WORD_H_
#define CLONESAFE_CORE_PHYSICAL_WORD_H_

#include <cstdint>

namespace clonesafe::core {

// Where the machine shows its devices; Linux's but in tests.
struct PhysicalPaths {
  const char* memory = "/dev/mem";
  const char* iomem = "/proc/iomem";
  const char* acpi_tables = "/sys/firmware/acpi/tables";
};

// What a VMM writes into guest memory before a clone's first instruction, in the page that is meant
// for the agent: root reads it without one. Mapped for good.
struct PhysicalWord {
  enum class Device : std::uint8_t { kNone, kRestorePage, kVmgenid };
  Device device = Device::kNone;
  // Random, never 0; another one in each clone.
  const std::uint64_t* word = nullptr;
  // 16 bytes of which the same is true: restore id or VM Generation ID.
  const std::uint8_t* id = nullptr;
  const char* problem = nullptr;  // static; null if a device was found
};

// The restore page, or else VMGENID. A few system calls, of which one or two are refused to all but
// root.
PhysicalWord find_physical_word(const PhysicalPaths& paths);

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_PHYSICAL_WORD_H_
