// http: HTTP/1.1 between an application and an upstream whose connections come and go: each request
// is sent on one that is idle or new, and a second time only where that does no harm.
#ifndef CLONESAFE_PROXY_PROTOCOLS_HTTP_HTTP_H_
#define CLONESAFE_PROXY_PROTOCOLS_HTTP_HTTP_H_

#include <memory>

#include "proxy/session/session.h"

namespace clonesafe::proxy::http {

// Serves one application until it ends.
Awaitable<void> serve(SessionHost& host, std::unique_ptr<Stream> application, Client client);

}  // namespace clonesafe::proxy::http

#endif  // CLONESAFE_PROXY_PROTOCOLS_HTTP_HTTP_H_
