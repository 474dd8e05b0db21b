#ifndef CLONESAFE_PROXY_CORE_FAREWELL_H_
#define CLONESAFE_PROXY_CORE_FAREWELL_H_

#include <functional>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::proxy {

// How a stale TCP connection was left. Its 4-tuple may be that of a machine that goes on using it:
// the best is that nothing is sent.
enum class Farewell {
  kSilent,     // nothing is sent
  kShortLived  // a reset that the first router drops (TTL 1); a peer on the same link gets it
};

// Which end opened a connection: by a port of its own, or at one where others are listened for.
enum class Opener { kThisEnd, kPeer };

// What its peer sends is dropped from now on, and neither close(2) nor the end of the process sends
// anything. What was sent and not acknowledged may be sent again. Takes CAP_NET_ADMIN.
bool silence_socket(int fd);

// Closes the socket of a stale connection. With CAP_NET_ADMIN nothing is sent at all (TCP_REPAIR);
// without, what is sent goes to the loopback device, which drops it, or where that is refused, to
// the first router. Never call shutdown(2) before: it sends.
Farewell abandon_socket(int fd);

// The same, and what drops the segments that its peer sends afterwards, as long as it is open.
// Closing that sends nothing, whoever does. Without `tombstone` the kernel answers them by a reset.
struct Replaced {
  Farewell how = Farewell::kSilent;
  UniqueFd tombstone;
};
// Takes two descriptors at most; where there are none, `make_room` is called, and may close some.
Replaced replace_socket(int fd, Opener opener, const std::function<void()>& make_room = {});

// Closes it with a reset: what its peer sees is an error, not an end.
void reset_socket(int fd);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_FAREWELL_H_
