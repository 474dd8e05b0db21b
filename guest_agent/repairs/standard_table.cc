#include "guest_agent/repairs/standard_table.h"

#include "guest_agent/repairs/boot_id.h"
#include "guest_agent/repairs/clock.h"
#include "guest_agent/repairs/hostname.h"
#include "guest_agent/repairs/kernel_rng.h"
#include "guest_agent/repairs/machine_id.h"
#include "guest_agent/repairs/metadata.h"
#include "guest_agent/repairs/network.h"

namespace clonesafe::agent {

RepairTable standard_table(const Config& config, Kernel& kernel, SeedPage* seed) {
  RepairTable table;
  table.add(std::make_unique<KernelRngRepair>(kernel, seed));
  if (config.step_clock) table.add(std::make_unique<ClockRepair>(kernel));
  const Config::Identity& identity = config.identity;
  table.add(
      std::make_unique<MachineIdRepair>(kernel, identity.machine_id, identity.dbus_machine_id));
  table.add(std::make_unique<BootIdRepair>(kernel, identity.boot_id, identity.boot_id_file));
  table.add(
      std::make_unique<HostnameRepair>(kernel, identity.hostname, config.page_path + ".hostname"));
  table.add(std::make_unique<MetadataRepair>(identity.metadata_file));
  if (config.set_network) table.add(std::make_unique<NetworkRepair>(kernel));
  return table;
}

}  // namespace clonesafe::agent
