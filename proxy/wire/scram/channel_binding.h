#ifndef CLONESAFE_PROXY_WIRE_SCRAM_CHANNEL_BINDING_H_
#define CLONESAFE_PROXY_WIRE_SCRAM_CHANNEL_BINDING_H_

#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"

namespace clonesafe::wire::scram {

// RFC 5929, section 4: the digest of a server's certificate (DER), by the hash of its signature, or
// SHA-256 where that is MD5 or SHA-1. An error for a signature without a hash of its own (Ed25519):
// nothing says what to do. Thread-safe.
Result<std::string> tls_server_end_point(std::string_view certificate);

}  // namespace clonesafe::wire::scram

#endif  // CLONESAFE_PROXY_WIRE_SCRAM_CHANNEL_BINDING_H_
