#ifndef CLONESAFE_PROXY_PROGRAM_SYSTEM_CALLS_H_
#define CLONESAFE_PROXY_PROGRAM_SYSTEM_CALLS_H_

#include "libclonesafe/base/error.h"

namespace clonesafe::proxy {

// From here on this thread, and those that it starts, have the system calls alone that a proxy
// needs while it serves; others give EPERM, and what nobody here has a reason for ends the process.
// Cannot be undone. Call it when the rights are dropped, and before the first thread.
Status restrict_system_calls();

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_PROGRAM_SYSTEM_CALLS_H_
