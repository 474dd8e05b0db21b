#include "guest_agent/repairs/standard_table.h"

#include "guest_agent/repairs/kernel_rng.h"

namespace clonesafe::agent {

RepairTable standard_table([[maybe_unused]] const Config& config, Kernel& kernel, SeedPage* seed) {
  RepairTable table;
  table.add(std::make_unique<KernelRngRepair>(kernel, seed));
  return table;
}

}  // namespace clonesafe::agent
