// postgres: sessions of PostgreSQL that outlive their server's connection: one connection to the
// server for each of an application's, and what its session is made of said again to the next one.
#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_POSTGRES_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_POSTGRES_H_

#include <memory>

#include "proxy/session/session.h"

namespace clonesafe::proxy::postgres {

// Serves one application until it ends. Its connection stays when the server's is lost, to a clone
// or to a failure, between transactions and in the middle of one, which has then failed. What can't
// be said again, or has an outcome that nobody knows, ends it with the error that says so.
Awaitable<void> serve(SessionHost& host, std::unique_ptr<Stream> application, Client client);

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_POSTGRES_H_
