#ifndef CLONESAFE_VMM_DEVICE_NET_TCP_SEGMENT_H_
#define CLONESAFE_VMM_DEVICE_NET_TCP_SEGMENT_H_

#include <cstddef>
#include <span>

namespace clonesafe::network {

// Bytes of a frame that are enough to tell: Ethernet, two VLAN tags, and the headers of IP and TCP.
inline constexpr std::size_t kSegmentHead = 256;

// Whether an Ethernet frame, of which this is the beginning, is a TCP segment other than the first
// of a connection (SYN without ACK): one that only a sender sends who has heard from its peer, or
// who gives up. IPv4 and IPv6, with their options; fragments behind the first are what their first
// one was not, since a SYN is never split. Not looked into: tunnels, and IPv6 headers beyond the
// beginning.
bool continues_connection(std::span<const std::byte> head);

}  // namespace clonesafe::network

#endif  // CLONESAFE_VMM_DEVICE_NET_TCP_SEGMENT_H_
