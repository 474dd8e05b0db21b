#include "guest_agent/repairs/fresh_id.h"

#include <algorithm>

#include "guest_agent/base/digest.h"

namespace clonesafe::agent {

Result<Id16> fresh_id(Kernel& kernel, const RepairEvent& event, std::string_view purpose) {
  Bytes32 random = {};
  if (auto drawn = kernel.random(random); !drawn) return fail(std::move(drawn.error()));
  const auto bytes = digest(purpose, {random, event.diversifier, event.restore.restore_id});
  if (!bytes) return fail(bytes.error());
  Id16 id;
  std::copy_n(bytes->begin(), id.size(), id.begin());
  return id;
}

}  // namespace clonesafe::agent
