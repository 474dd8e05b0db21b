// health: whether the addresses of an upstream are well, as asked by the proxy itself.
#ifndef CLONESAFE_PROXY_HEALTH_PROBE_H_
#define CLONESAFE_PROXY_HEALTH_PROBE_H_

#include <string>

#include "proxy/config/config.h"
#include "proxy/core/stream.h"

namespace clonesafe::proxy {

// Asks a server by what its protocol has for that. An error says what is wrong with the answer. For
// the kinds that ask nothing a connection is all. `host` is whom an HTTP request names.
Awaitable<Status> probe(Stream& stream, const CheckConfig& config, const std::string& host);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_HEALTH_PROBE_H_
