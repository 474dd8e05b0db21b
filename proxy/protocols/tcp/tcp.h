// tcp: bytes between an application and an upstream, whatever they mean.
#ifndef CLONESAFE_PROXY_PROTOCOLS_TCP_TCP_H_
#define CLONESAFE_PROXY_PROTOCOLS_TCP_TCP_H_

#include <memory>

#include "proxy/session/session.h"

namespace clonesafe::proxy {

// Serves one application until it ends.
Awaitable<void> serve_tcp(SessionHost& host, std::unique_ptr<Stream> application, Client client);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_PROTOCOLS_TCP_TCP_H_
