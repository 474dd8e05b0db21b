#ifndef CLONESAFE_PROXY_PROGRAM_RIGHTS_H_
#define CLONESAFE_PROXY_PROGRAM_RIGHTS_H_

#include <string>

#include "libclonesafe/base/error.h"

namespace clonesafe::proxy {

// Gives up, for good, every capability but CAP_NET_ADMIN, as far as it was there: stale connections
// are left without a packet by it. With a name, becomes that user with its groups. Call it when
// everything that needs more is open and mapped, and before the first thread: rights belong to
// threads.
Status drop_rights(const std::string& user);
// The same without that capability.
Status drop_all_rights(const std::string& user);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_PROGRAM_RIGHTS_H_
