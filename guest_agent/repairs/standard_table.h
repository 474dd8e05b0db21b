#ifndef CLONESAFE_GUEST_AGENT_REPAIRS_STANDARD_TABLE_H_
#define CLONESAFE_GUEST_AGENT_REPAIRS_STANDARD_TABLE_H_

#include "guest_agent/config/config.h"
#include "guest_agent/repairs/kernel.h"
#include "guest_agent/repairs/repair.h"
#include "guest_agent/sources/seed_page.h"

namespace clonesafe::agent {

// The repairs that clonesafed runs, as configured. `kernel` and `seed` (which may be null) must
// outlive the table.
RepairTable standard_table(const Config& config, Kernel& kernel, SeedPage* seed);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_REPAIRS_STANDARD_TABLE_H_
