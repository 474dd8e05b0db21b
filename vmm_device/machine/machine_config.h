#ifndef CLONESAFE_VMM_DEVICE_MACHINE_MACHINE_CONFIG_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_MACHINE_CONFIG_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/generation/generation_devices.h"
#include "vmm_device/net/mac_address.h"

namespace clonesafe {

inline constexpr std::uint32_t kMaxCpus = 8;

inline constexpr std::size_t kMaxDisks = 8;

// A block device; its bytes come with the machine's hooks. In a snapshot it has a section of its
// own (disk_record.h).
struct DiskConfig {
  std::string serial;  // what the guest reads as its identity; may be empty
};

inline constexpr std::size_t kMaxNets = 4;

// A network device; its tap comes with the machine's hooks, or its restore.
struct NetConfig {
  std::string tap;  // the name of the one that it had last
  network::MacAddress mac;
};

// The memory balloon.
struct BalloonConfig {
  bool reporting = false;  // the guest is offered to report pages as they become free
};

// What a machine consists of: given at its start, kept in its snapshots.
struct MachineConfig {
  std::uint64_t memory = std::uint64_t{256} << 20;
  std::uint32_t cpus = 1;
  std::vector<std::string> masked_features;  // --cpu-mask
  // --cpu-template: of a machine that is booted. In no snapshot; a restored one has the CPUID that
  // came of it.
  std::string cpu_template = "host";
  GenerationOptions generation;
  std::uint32_t vsock_cid = 0;           // 0: no vsock device
  std::vector<DiskConfig> disks;         // in the order of their names in the guest: vda, vdb
  std::vector<NetConfig> nets;           // in a section of their own
  std::optional<BalloonConfig> balloon;  // in a section of its own
};

inline constexpr std::size_t kMaxSerial = 20;
Status check_serial(std::string_view serial);

// Refuses what no machine can be made of; the configuration may come from a snapshot.
Status check(const MachineConfig& config);

// The machine_config section. Generation options are kept with their devices' own section, and here
// because the ACPI tables in the guest's memory were built for them.
std::vector<std::byte> encode(const MachineConfig& config);
// The bytes are untrusted; what comes back has passed check().
Result<MachineConfig> decode_machine_config(std::span<const std::byte> bytes);

// The network_devices section; there is none in the snapshot of a machine without them.
std::vector<std::byte> encode(std::span<const NetConfig> nets);
Result<std::vector<NetConfig>> decode_nets(std::span<const std::byte> bytes);

// The balloon section; there is none in the snapshot of a machine without one.
std::vector<std::byte> encode(const BalloonConfig& balloon);
Result<BalloonConfig> decode_balloon(std::span<const std::byte> bytes);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_MACHINE_CONFIG_H_
