#ifndef CLONESAFE_VMM_DEVICE_MACHINE_MACHINE_CONFIG_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_MACHINE_CONFIG_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/generation/generation_devices.h"

namespace clonesafe {

inline constexpr std::uint32_t kMaxCpus = 8;

// What a machine consists of: given at its start, kept in its snapshots.
struct MachineConfig {
  std::uint64_t memory = std::uint64_t{256} << 20;
  std::uint32_t cpus = 1;
  std::vector<std::string> masked_features;  // --cpu-mask
  // --cpu-template: of a machine that is booted. In no snapshot; a restored one has the CPUID that
  // came of it.
  std::string cpu_template = "host";
  GenerationOptions generation;
  std::uint32_t vsock_cid = 0;  // 0: no vsock device
};

// Refuses what no machine can be made of; the configuration may come from a snapshot.
Status check(const MachineConfig& config);

// The machine_config section. Generation options are kept with their devices' own section, and here
// because the ACPI tables in the guest's memory were built for them.
std::vector<std::byte> encode(const MachineConfig& config);
// The bytes are untrusted; what comes back has passed check().
Result<MachineConfig> decode_machine_config(std::span<const std::byte> bytes);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_MACHINE_CONFIG_H_
