#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_LOGIN_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_LOGIN_H_

#include <map>
#include <memory>
#include <string>

#include "proxy/protocols/postgres/admission.h"
#include "proxy/protocols/postgres/shadow.h"

namespace clonesafe::proxy::postgres {

// A server's session that is ready, and what it told of itself.
struct Backend {
  std::shared_ptr<Stream> stream;
  Framer framer{Framer::From::kServer};
  std::string rest;  // that came behind
  std::map<std::string, std::string> parameters;
  std::uint32_t process = 0;
  std::string key;
  TransactionStatus status = TransactionStatus::kIdle;
};

// Logs an application's user in at its server, with what its StartupMessage has and these
// parameters, and gives the session the state that the last one had. The credentials are read anew.
// Server's errors are refusals. What is given outlives it.
Awaitable<Answer<Backend>> log_in(SessionHost& host, std::shared_ptr<Stream> stream,
                                  const Application& application, const Parameters& parameters,
                                  const Replay& replay);

// Says it on a connection that nothing is under way on; `backend` outlives it.
Awaitable<Answer<void>> say(Backend& backend, const Replay& replay);

// Says goodbye in the protocol's way, and closes it.
Awaitable<void> say_goodbye(std::shared_ptr<Stream> stream);

// Asks a server for TLS, over a connection that has none yet.
Awaitable<Status> request_tls(Stream& stream);

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_LOGIN_H_
