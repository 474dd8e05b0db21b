#ifndef CLONESAFE_GUEST_AGENT_REPAIRS_FRESH_ID_H_
#define CLONESAFE_GUEST_AGENT_REPAIRS_FRESH_ID_H_

#include <string_view>

#include "guest_agent/base/bytes.h"
#include "guest_agent/repairs/kernel.h"
#include "guest_agent/repairs/repair.h"
#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// 16 bytes for a new identity: of the kernel's generator, and of the diversifier, so that siblings
// differ even where the generator's repair failed. `purpose` keeps two ids of one restore apart.
Result<Id16> fresh_id(Kernel& kernel, const RepairEvent& event, std::string_view purpose);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_REPAIRS_FRESH_ID_H_
