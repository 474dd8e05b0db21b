#include "proxy/upstream/own_ports.h"

#include <sys/socket.h>

namespace clonesafe::proxy {

OwnPorts::Bit OwnPorts::bit_of(const Endpoint& endpoint) {
  const std::size_t family = endpoint.protocol().family() == AF_INET6 ? 1 : 0;
  const std::size_t at = family * kPorts + port_of(endpoint);
  return {.word = at / kBits, .mask = std::uint64_t{1} << at % kBits};
}

OwnPorts::Hold OwnPorts::hold(const Endpoint& ours) {
  const Bit bit = bit_of(ours);
  ports_[bit.word].fetch_or(bit.mask);
  // Counts as a pointer to these ports, which must live as long.
  return {this, [ports = shared_from_this(), bit](const void*) {
            ports->ports_[bit.word].fetch_and(~bit.mask);
          }};
}

bool OwnPorts::has(const Endpoint& peer) const {
  const Bit bit = bit_of(peer);
  return (ports_[bit.word].load() & bit.mask) != 0;
}

}  // namespace clonesafe::proxy
