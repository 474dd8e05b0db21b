#ifndef CLONESAFE_PROXY_UPSTREAM_SOURCE_PORT_H_
#define CLONESAFE_PROXY_UPSTREAM_SOURCE_PORT_H_

#include <cstdint>
#include <set>

#include "proxy/core/address.h"

namespace clonesafe::proxy {

// Binds a TCP socket to a random port that this clone draws: the kernel's own choice follows a
// secret that all clones share, so siblings would choose alike, and a connection of the parent's
// that is open still would be hit. Never one of `but`. False if none was found in some attempts:
// the kernel may choose then, and the port must be looked at.
bool bind_random_port(int fd, const Endpoint& to, const std::set<std::uint16_t>& but);

// To one that the kernel chooses now, and not when it connects.
Status bind_free_port(int fd, const Endpoint& to);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_SOURCE_PORT_H_
