#include "guest_agent/network/interface_lists.h"

#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>

#include <algorithm>

namespace clonesafe::agent {
namespace {

// linux/if_addr.h of 5.18; Debian 12's headers have them, older ones don't.
constexpr std::uint16_t kAttributeProtocol = 11;  // IFA_PROTO
constexpr std::uint8_t kOfRouterAdvertisement = 2;
constexpr std::uint8_t kOfKernelLinkLocal = 3;

std::optional<IpAddress> address_in(const NetlinkMessage& message, std::size_t header_size,
                                    std::uint16_t type) {
  const auto bytes = message.attribute(header_size, type);
  if (!bytes) return std::nullopt;
  const auto address = ip_from_bytes(*bytes);
  if (!address) return std::nullopt;
  return *address;
}

std::optional<Link> link_in(const NetlinkMessage& message) {
  const auto header = message.header<ifinfomsg>();
  const auto name = message.attribute(sizeof(header), IFLA_IFNAME);
  if (message.type != RTM_NEWLINK || !name || name->empty()) return std::nullopt;
  Link link = {.index = header.ifi_index,
               .name = {name->begin(), name->end() - 1},  // without its zero byte
               .up = (header.ifi_flags & IFF_UP) != 0,
               .mtu = message.number(sizeof(header), IFLA_MTU).value_or(0)};
  const auto address = message.attribute(sizeof(header), IFLA_ADDRESS);
  network::MacAddress mac;
  if (header.ifi_type == ARPHRD_ETHER && address && address->size() == mac.bytes.size()) {
    std::ranges::copy(*address, mac.bytes.begin());
    link.mac = mac;
  }
  return link;
}

std::optional<LinkAddress> link_address_in(const NetlinkMessage& message, int link) {
  const auto header = message.header<ifaddrmsg>();
  if (message.type != RTM_NEWADDR || static_cast<int>(header.ifa_index) != link)
    return std::nullopt;
  // IFA_ADDRESS is the other end's where there is one; IPv6 has IFA_LOCAL only then.
  const auto peer = address_in(message, sizeof(header), IFA_ADDRESS);
  const auto local = address_in(message, sizeof(header), IFA_LOCAL);
  const auto& address = local ? local : peer;
  if (!address) return std::nullopt;
  const auto flags = message.number(sizeof(header), IFA_FLAGS).value_or(header.ifa_flags);
  const auto protocol = message.attribute(sizeof(header), kAttributeProtocol);
  const std::uint8_t made_by = protocol && !protocol->empty() ? protocol->front() : 0;
  return LinkAddress{.prefix = {.address = *address, .length = header.ifa_prefixlen},
                     .peer = peer.value_or(*address),
                     .global = header.ifa_scope == RT_SCOPE_UNIVERSE,
                     .link_local = header.ifa_scope == RT_SCOPE_LINK,
                     .of_routers = made_by == kOfRouterAdvertisement ||
                                   (address->family == AF_INET6 && (flags & IFA_F_TEMPORARY) != 0),
                     .of_kernel = made_by == kOfKernelLinkLocal};
}

std::optional<Route> route_in(const NetlinkMessage& message, int link) {
  const auto header = message.header<rtmsg>();
  constexpr std::size_t kHeader = sizeof(header);
  if (message.type != RTM_NEWROUTE || header.rtm_type != RTN_UNICAST ||
      (header.rtm_flags & RTM_F_CLONED) != 0 ||
      message.number(kHeader, RTA_TABLE).value_or(header.rtm_table) != RT_TABLE_MAIN ||
      message.number(kHeader, RTA_OIF) != static_cast<std::uint32_t>(link))
    return std::nullopt;
  Route route = {.via = address_in(message, kHeader, RTA_GATEWAY),
                 .metric = message.number(kHeader, RTA_PRIORITY).value_or(0),
                 .protocol = header.rtm_protocol};
  if (const auto to = address_in(message, kHeader, RTA_DST)) {
    route.to.address = *to;
  } else {
    route.to.address.family = header.rtm_family;
  }
  route.to.length = header.rtm_dst_len;
  if (route.to.address.size() == 0) return std::nullopt;  // neither IPv4 nor IPv6
  return route;
}

std::optional<PermanentNeighbour> neighbour_in(const NetlinkMessage& message, int link) {
  const auto header = message.header<ndmsg>();
  if (message.type != RTM_NEWNEIGH || header.ndm_ifindex != link ||
      (header.ndm_state & NUD_PERMANENT) == 0)
    return std::nullopt;
  const auto address = address_in(message, sizeof(header), NDA_DST);
  const auto link_address = message.attribute(sizeof(header), NDA_LLADDR);
  if (!address || !link_address) return std::nullopt;
  return PermanentNeighbour{.address = *address,
                            .link_address = {link_address->begin(), link_address->end()},
                            .flags = header.ndm_flags};
}

// Those of a list that `take` finds something in.
template <typename Entry, typename Header, typename Take>
Result<std::vector<Entry>> listed(Netlink& netlink, std::uint16_t type, const Header& header,
                                  std::string_view what, Take take) {
  const auto messages = netlink.list(NetlinkRequest(type, 0, header), what);
  if (!messages) return fail(messages.error());
  std::vector<Entry> entries;
  for (const NetlinkMessage& message : *messages) {
    if (auto entry = take(message)) entries.push_back(std::move(*entry));
  }
  return entries;
}

}  // namespace

Result<std::vector<Link>> list_links(Netlink& netlink) {
  return listed<Link>(netlink, RTM_GETLINK, ifinfomsg{}, "list of interfaces", link_in);
}

Result<std::vector<LinkAddress>> list_addresses(Netlink& netlink, int link) {
  return listed<LinkAddress>(
      netlink, RTM_GETADDR, ifaddrmsg{}, "list of addresses",
      [link](const NetlinkMessage& message) { return link_address_in(message, link); });
}

Result<std::vector<Route>> list_routes(Netlink& netlink, int link) {
  return listed<Route>(netlink, RTM_GETROUTE, rtmsg{}, "list of routes",
                       [link](const NetlinkMessage& message) { return route_in(message, link); });
}

Result<std::vector<PermanentNeighbour>> list_permanent_neighbours(Netlink& netlink, int link) {
  return listed<PermanentNeighbour>(
      netlink, RTM_GETNEIGH, ndmsg{}, "list of neighbours",
      [link](const NetlinkMessage& message) { return neighbour_in(message, link); });
}

}  // namespace clonesafe::agent
