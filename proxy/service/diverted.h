#ifndef CLONESAFE_PROXY_SERVICE_DIVERTED_H_
#define CLONESAFE_PROXY_SERVICE_DIVERTED_H_

#include "proxy/config/config.h"
#include "proxy/core/address.h"
#include "proxy/upstream/own_ports.h"

namespace clonesafe::proxy {

// Whether an address is one of this machine's, now; of any interface.
bool is_of_this_machine(const Endpoint& peer);

// Where a connection was to go that rules of the kernel's brought to a service that is transparent
// (proxy/nftables), whose peer is `from`. Refuses what nobody diverted, what no destination of the
// service's is, and what the service opened itself.
Result<Endpoint> diverted(int fd, const Endpoint& from, const ServiceConfig& config,
                          const OwnPorts& own_ports);

// Has a listening socket take what tproxy brings. Takes CAP_NET_ADMIN.
Status make_transparent(int fd);

// Whether this process may mark packets, as the service needs it. Takes CAP_NET_ADMIN.
Status check_mark(const ServiceConfig& config);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SERVICE_DIVERTED_H_
