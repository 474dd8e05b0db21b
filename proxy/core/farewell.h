#ifndef CLONESAFE_PROXY_CORE_FAREWELL_H_
#define CLONESAFE_PROXY_CORE_FAREWELL_H_

namespace clonesafe::proxy {

// How a stale TCP connection was left. Its 4-tuple may be that of a machine that goes on using it:
// the best is that nothing is sent.
enum class Farewell {
  kSilent,     // nothing is sent (TCP_REPAIR; takes CAP_NET_ADMIN)
  kShortLived  // a reset that the first router drops (TTL 1); a peer on the same link gets it
};

// Closes the socket of a stale connection. Never call shutdown(2) before: it sends.
Farewell abandon_socket(int fd);

// Closes it with a reset: what its peer sees is an error, not an end.
void reset_socket(int fd);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_FAREWELL_H_
