#include "guest_agent/base/rights.h"

#include <cap-ng.h>
#include <sys/prctl.h>

#include <vector>

namespace clonesafe::agent {
namespace {

constexpr unsigned kNeeded[] = {CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_NET_BIND_SERVICE, CAP_SYS_TIME,
                                CAP_NET_ADMIN};

}  // namespace

Status drop_rights(bool network) {
  if (::capng_get_caps_process() != 0) return fail_errno("reading the agent's capabilities");
  std::vector<unsigned> kept;
  for (const unsigned capability : kNeeded) {
    if (capability == CAP_NET_ADMIN && !network) continue;
    if (::capng_have_capability(CAPNG_PERMITTED, capability) == 1) kept.push_back(capability);
  }
  // What bounds the programs that a process starts is changed with a right that a service manager
  // may have taken already.
  const bool bounds = ::capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) == 1;
  const capng_select_t what = bounds ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS;
  ::capng_clear(what);
  for (const unsigned capability : kept) {
    const auto sets = static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED |
                                                (bounds ? CAPNG_BOUNDING_SET : 0));
    if (::capng_update(CAPNG_ADD, sets, capability) != 0)
      return fail("capability " + std::to_string(capability) + " can't be kept");
  }
  if (const int result = ::capng_apply(what); result != 0)
    return fail_errno("giving up capabilities (step " + std::to_string(-result) + ")");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno("PR_SET_NO_NEW_PRIVS");
  return {};
}

}  // namespace clonesafe::agent
