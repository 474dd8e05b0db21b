#ifndef CLONESAFE_PROXY_PROTOCOLS_REDIS_REDIS_H_
#define CLONESAFE_PROXY_PROTOCOLS_REDIS_REDIS_H_

#include <memory>

#include "proxy/session/session.h"

namespace clonesafe::proxy::redis {

// Serves one application until it ends. Its connection stays when the upstream's is lost, to a
// clone or to a failure: the next one is given the session's state, and then
//   * commands that were not sent, or were sent and only read, are sent again;
//   * of others, whose reply did not come, nobody knows whether they were done: each is an error;
//   * a transaction that was not EXECuted begins anew, unless it WATCHes: then EXEC gives nil.
// What can't be repeated (a reply that came in part, MONITOR, replication) ends the session.
Awaitable<void> serve(SessionHost& host, std::unique_ptr<Stream> application, Client client);

}  // namespace clonesafe::proxy::redis

#endif  // CLONESAFE_PROXY_PROTOCOLS_REDIS_REDIS_H_
