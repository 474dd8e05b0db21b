// tls: sessions over streams of the core, whose keys are this generation's: contexts that are ready
// before a snapshot, and a stream that checks the generation after it has sealed and before it
// sends.
#ifndef CLONESAFE_PROXY_TLS_RANDOM_H_
#define CLONESAFE_PROXY_TLS_RANDOM_H_

#include "libclonesafe/base/error.h"

namespace clonesafe::proxy {

// Has libcrypto draw from libclonesafe, in this whole process and from the next draw on: no value
// that a clone draws is one that its siblings draw. Before any thread uses libcrypto.
Status use_clone_safe_random();

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_TLS_RANDOM_H_
