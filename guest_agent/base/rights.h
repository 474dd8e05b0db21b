#ifndef CLONESAFE_GUEST_AGENT_BASE_RIGHTS_H_
#define CLONESAFE_GUEST_AGENT_BASE_RIGHTS_H_

#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// Gives up, for good, every capability that the repairs don't need. Kept, as far as they were
// there (docs/man/clonesafed.8):
//   CAP_SYS_ADMIN         the generator's ioctls, host name, bind mount of the boot id, and where
//                         in guest memory the generation page and secret pages are
//   CAP_DAC_OVERRIDE      identity files of other owners, or without write permission
//   CAP_NET_BIND_SERVICE  a vsock port that the host believes, for each new connection
//   CAP_SYS_TIME          the wall clock
//   CAP_NET_ADMIN         addresses of interfaces; only with `network`
// Call it when everything that needs more is open and mapped (/dev/mem, the kernel's log), and
// before the first thread.
Status drop_rights(bool network);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_BASE_RIGHTS_H_
