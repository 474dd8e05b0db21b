#ifndef CLONESAFE_GUEST_AGENT_NETWORK_INTERFACE_LISTS_H_
#define CLONESAFE_GUEST_AGENT_NETWORK_INTERFACE_LISTS_H_

#include <optional>
#include <string>
#include <vector>

#include "guest_agent/network/ip_address.h"
#include "guest_agent/network/netlink.h"
#include "libclonesafe/base/error.h"
#include "libclonesafe/base/network_interface.h"

namespace clonesafe::agent {

// What the kernel has of interfaces, as far as it is changed here.

struct Link {
  int index = 0;
  std::string name;
  bool up = false;
  std::uint32_t mtu = 0;
  std::optional<network::MacAddress> mac;  // of an Ethernet interface
};

struct LinkAddress {
  IpPrefix prefix;
  IpAddress peer;       // the other end's, where there is one; else the same
  bool global = false;  // neither the link's nor the machine's own
  bool link_local = false;
  bool of_routers = false;  // made of what a router said (SLAAC)
  bool of_kernel = false;   // a link-local one that the kernel made
};

struct Route {
  IpPrefix to;
  std::optional<IpAddress> via;
  std::uint32_t metric = 0;
  std::uint8_t protocol = 0;  // who made it, RTPROT_*
};

// A neighbour that somebody has entered for good.
struct PermanentNeighbour {
  IpAddress address;
  std::vector<std::uint8_t> link_address;
  std::uint8_t flags = 0;
};

Result<std::vector<Link>> list_links(Netlink& netlink);
// Those of one interface.
Result<std::vector<LinkAddress>> list_addresses(Netlink& netlink, int link);
// Unicast ones of the main table, that are its alone (no multipath).
Result<std::vector<Route>> list_routes(Netlink& netlink, int link);
Result<std::vector<PermanentNeighbour>> list_permanent_neighbours(Netlink& netlink, int link);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_NETWORK_INTERFACE_LISTS_H_
