#include "guest_agent/network/interface_change.h"

#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "guest_agent/base/files.h"
#include "guest_agent/base/log.h"

namespace clonesafe::agent {
namespace {

// Documentation/networking/ip-sysctl.rst, addr_gen_mode.
constexpr std::string_view kNoAddresses = "1";
constexpr std::string_view kOfStableSecret = "2";
constexpr std::string_view kOfRandomSecret = "3";
// The kernel's, for an IPv6 route that names none.
constexpr std::uint32_t kIpv6Metric = 1024;
constexpr std::uint8_t kLongestIpv4WithBroadcast = 30;  // RFC 3021

std::uint32_t metric_of(std::uint32_t metric, std::uint8_t family) {
  return metric == 0 && family == AF_INET6 ? kIpv6Metric : metric;
}

bool is_same(const Route& route, const RoutePlan& plan) {
  return route.to == plan.to && route.via == plan.via &&
         route.metric == metric_of(plan.metric, plan.to.address.family);
}

// RFC 4291, appendix A: the lower half was made of an Ethernet address.
bool is_of_ethernet(const IpAddress& address) {
  return address.family == AF_INET6 && address.storage[11] == 0xff && address.storage[12] == 0xfe;
}

bool has_interface_id_of(const IpAddress& address, const network::MacAddress& mac) {
  return std::ranges::equal(address.bytes().subspan(8),
                            link_local_of(mac).address.bytes().subspan(8));
}

}  // namespace

ScopedSettings::~ScopedSettings() {
  for (; !before_.empty(); before_.pop_back()) {
    const auto& [path, value] = before_.back();
    if (auto restored = write_in_place(path, value); !restored)
      log_warning(restored.error().message());
  }
}

Status ScopedSettings::set(std::string path, std::string_view value) {
  if (::access(path.c_str(), F_OK) != 0) return {};
  auto before = read_file(path);
  if (!before) return fail(std::move(before.error()));
  if (trim(*before) == value) return {};
  if (auto written = write_in_place(path, value); !written) return written;
  before_.emplace_back(std::move(path), std::move(*before));
  return {};
}

Status InterfaceChange::run() {
  // A changed Ethernet address costs the interface these too.
  auto neighbours = list_permanent_neighbours(netlink_, link_.index);
  if (!neighbours) return fail(std::move(neighbours.error()), link_.name);
  neighbours_ = std::move(*neighbours);
  Status done;
  for (const auto step : {&InterfaceChange::set_mtu, &InterfaceChange::set_mac,
                          &InterfaceChange::renew_link_local, &InterfaceChange::set_addresses,
                          &InterfaceChange::set_routes, &InterfaceChange::announce}) {
    if (done = (this->*step)(); !done) break;
  }
  if (auto restored = restore_neighbours(); done && !restored) done = std::move(restored);
  if (done) done = check();
  if (!done) return fail(std::move(done.error()), link_.name);
  return {};
}

Status InterfaceChange::set_mtu() {
  if (!plan_.mtu || plan_.mtu == link_.mtu) return {};
  return set_link(IFLA_MTU,
                  {reinterpret_cast<const std::uint8_t*>(&*plan_.mtu), sizeof(*plan_.mtu)},
                  "MTU of " + std::to_string(*plan_.mtu));
}

Status InterfaceChange::set_mac() {
  if (!plan_.mac || plan_.mac == link_.mac) return {};
  if (!link_.mac) return fail("is no Ethernet interface, and has no 'macaddress'");
  auto set = set_link(IFLA_ADDRESS, plan_.mac->bytes, "address " + to_string(*plan_.mac));
  if (!set && set.error().error_number() == EBUSY)
    return fail(std::move(set.error()), "its driver takes no address while the link is up");
  return set;
}

Status InterfaceChange::renew_link_local() {
  if (!plan_.mac) return {};
  const auto addresses = list_addresses(netlink_, link_.index);
  if (!addresses) return fail(addresses.error());
  const IpPrefix own = link_local_of(*plan_.mac);
  bool derived = false;
  for (const LinkAddress& address : *addresses) {
    if (!address.link_local || !is_of_ethernet(address.prefix.address) || address.prefix == own)
      continue;
    if (auto removed = remove_address(address); !removed) return removed;
    derived = true;
  }
  if (derived && std::ranges::find(*addresses, own, &LinkAddress::prefix) == addresses->end()) {
    if (auto added = add_address(own); !added) return added;
  }
  return renew_stable_secret(*addresses);
}

// Where the kernel makes IPv6 addresses of a secret, all clones would come to the same.
Status InterfaceChange::renew_stable_secret(const std::vector<LinkAddress>& addresses) {
  const std::string path = setting("ipv6", "addr_gen_mode");
  const auto text = read_file(path);
  if (!text) return {};  // no IPv6
  const std::string_view mode = trim(*text);
  if (mode != kOfStableSecret && mode != kOfRandomSecret) return {};
  const auto secret = ip_from_bytes(secret_);
  if (!secret) return fail(secret.error());
  if (auto written = write_in_place(setting("ipv6", "stable_secret"), to_string(*secret)); !written)
    return written;
  for (const LinkAddress& address : addresses) {
    if (!address.link_local || !address.of_kernel) continue;
    if (auto removed = remove_address(address); !removed) return removed;
  }
  // It makes a link-local address when it begins to make any.
  for (const std::string_view value : {kNoAddresses, mode}) {
    if (auto written = write_in_place(path, value); !written) return written;
  }
  return {};
}

bool InterfaceChange::is_stale(const LinkAddress& address) const {
  if (plan_.addresses)
    return !plan_.keep_addresses && address.global &&
           std::ranges::find(*plan_.addresses, address.prefix) == plan_.addresses->end();
  // What a router said still holds, but not for the interface that had another address.
  return plan_.mac && address.of_routers &&
         !has_interface_id_of(address.prefix.address, *plan_.mac);
}

// The new ones first: an interface that loses its last address loses all routes with it.
Status InterfaceChange::set_addresses() {
  const auto addresses = list_addresses(netlink_, link_.index);
  if (!addresses) return fail(addresses.error());
  // Otherwise an address of a network that goes takes the others of that network along.
  ScopedSettings settings;
  if (auto set = settings.set(setting("ipv4", "promote_secondaries"), "1"); !set) return set;
  for (const IpPrefix& wanted : plan_.addresses.value_or(std::vector<IpPrefix>())) {
    const auto there = std::ranges::find_if(*addresses, [&wanted](const LinkAddress& address) {
      return address.prefix.address == wanted.address;
    });
    if (there != addresses->end() && there->prefix == wanted) continue;
    // With another length; IPv6 has an address only once.
    if (there != addresses->end() && wanted.address.family == AF_INET6) {
      if (auto removed = remove_address(*there); !removed) return removed;
    }
    if (auto added = add_address(wanted); !added) return added;
  }
  for (const LinkAddress& address : *addresses) {
    if (!is_stale(address)) continue;
    if (auto removed = remove_address(address); !removed) return removed;
  }
  return {};
}

// The kernel's own routes follow the addresses, those of routers what these say.
Status InterfaceChange::set_routes() {
  if (!plan_.routes) return {};
  for (const RoutePlan& route : *plan_.routes) {
    if (auto added = add_route(route); !added) return added;
  }
  const auto routes = list_routes(netlink_, link_.index);
  if (!routes) return fail(routes.error());
  for (const Route& route : *routes) {
    const bool is_others = route.protocol == RTPROT_KERNEL || route.protocol == RTPROT_REDIRECT ||
                           route.protocol == RTPROT_RA;
    const bool is_wanted = std::ranges::any_of(
        *plan_.routes, [&route](const RoutePlan& plan) { return is_same(route, plan); });
    if (is_others || is_wanted) continue;
    if (auto removed = remove_route(route); !removed) return removed;
  }
  return {};
}

// Told that the Ethernet address is another, though it is the one that it was, the kernel forgets
// the neighbours that it had found, and announces all IP addresses by gratuitous ARP and neighbour
// advertisements.
Status InterfaceChange::announce() {
  const auto& mac = plan_.mac ? plan_.mac : link_.mac;
  if (!link_.up || !mac) return {};
  ScopedSettings settings;
  for (const auto& path : {setting("ipv4", "arp_notify"), setting("ipv6", "ndisc_notify")}) {
    if (auto set = settings.set(path, "1"); !set) return set;
  }
  return set_link(IFLA_ADDRESS, mac->bytes, "announcement");
}

Status InterfaceChange::restore_neighbours() {
  for (const PermanentNeighbour& neighbour : neighbours_) {
    NetlinkRequest request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
                           ndmsg{.ndm_family = neighbour.address.family,
                                 .ndm_ifindex = link_.index,
                                 .ndm_state = NUD_PERMANENT,
                                 .ndm_flags = neighbour.flags});
    request.add(NDA_DST, neighbour.address.bytes());
    request.add(NDA_LLADDR, neighbour.link_address);
    if (auto done = netlink_.order(request, "neighbour " + to_string(neighbour.address)); !done)
      return done;
  }
  return {};
}

Status InterfaceChange::check() {
  const auto links = list_links(netlink_);
  if (!links) return fail(links.error());
  const auto link = std::ranges::find(*links, link_.index, &Link::index);
  if (link == links->end()) return fail("is gone");
  if (plan_.mac && link->mac != plan_.mac)
    return fail("doesn't show the address " + to_string(*plan_.mac));
  if (plan_.mtu && link->mtu != plan_.mtu)
    return fail("doesn't show an MTU of " + std::to_string(*plan_.mtu));
  const auto addresses = list_addresses(netlink_, link_.index);
  if (!addresses) return fail(addresses.error());
  for (const IpPrefix& wanted : plan_.addresses.value_or(std::vector<IpPrefix>())) {
    if (std::ranges::find(*addresses, wanted, &LinkAddress::prefix) == addresses->end())
      return fail("doesn't show the address " + to_string(wanted));
  }
  for (const LinkAddress& address : *addresses) {
    if (is_stale(address)) return fail("still has the address " + to_string(address.prefix));
  }
  return {};
}

Status InterfaceChange::set_link(std::uint16_t attribute, std::span<const std::uint8_t> value,
                                 std::string_view what) {
  NetlinkRequest request(RTM_SETLINK, 0, ifinfomsg{.ifi_index = link_.index});
  request.add(attribute, value);
  return netlink_.order(request, what);
}

Status InterfaceChange::add_address(const IpPrefix& prefix) {
  const std::uint8_t family = prefix.address.family;
  const bool ipv6 = family == AF_INET6;
  const bool link_local =
      ipv6 && prefix.address.storage[0] == 0xfe && (prefix.address.storage[1] & 0xc0) == 0x80;
  // Whoever gives the addresses sees to it that they are unique, so nobody is asked, and they hold
  // at once.
  NetlinkRequest request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL,
                         ifaddrmsg{.ifa_family = family,
                                   .ifa_prefixlen = prefix.length,
                                   .ifa_flags = static_cast<std::uint8_t>(ipv6 ? IFA_F_NODAD : 0),
                                   .ifa_scope = static_cast<std::uint8_t>(
                                       link_local ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE),
                                   .ifa_index = static_cast<std::uint32_t>(link_.index)});
  request.add(IFA_LOCAL, prefix.address.bytes());
  if (!ipv6 && prefix.length <= kLongestIpv4WithBroadcast)
    request.add(IFA_BROADCAST, broadcast_of(prefix).bytes());
  return netlink_.order(request, "address " + to_string(prefix));
}

Status InterfaceChange::remove_address(const LinkAddress& address) {
  const IpPrefix& prefix = address.prefix;
  NetlinkRequest request(RTM_DELADDR, 0,
                         ifaddrmsg{.ifa_family = prefix.address.family,
                                   .ifa_prefixlen = prefix.length,
                                   .ifa_index = static_cast<std::uint32_t>(link_.index)});
  request.add(IFA_LOCAL, prefix.address.bytes());
  // IPv4 looks at the prefix's length only with this.
  request.add(IFA_ADDRESS, address.peer.bytes());
  auto removed = netlink_.order(request, "removal of " + to_string(prefix));
  // One that another took along.
  if (!removed && removed.error().error_number() == EADDRNOTAVAIL) return {};
  return removed;
}

Status InterfaceChange::add_route(const RoutePlan& route) {
  const std::uint8_t family = route.to.address.family;
  const bool to_link = family == AF_INET && !route.via;
  NetlinkRequest request(
      RTM_NEWROUTE, NLM_F_CREATE,
      rtmsg{.rtm_family = family,
            .rtm_dst_len = route.to.length,
            .rtm_table = RT_TABLE_MAIN,
            .rtm_protocol = RTPROT_STATIC,
            .rtm_scope = static_cast<std::uint8_t>(to_link ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE),
            .rtm_type = RTN_UNICAST,
            .rtm_flags = route.on_link ? unsigned{RTNH_F_ONLINK} : 0});
  if (route.to.length != 0) request.add(RTA_DST, route.to.address.bytes());
  if (route.via) request.add(RTA_GATEWAY, route.via->bytes());
  if (route.metric != 0) request.add(RTA_PRIORITY, route.metric);
  request.add(RTA_OIF, static_cast<std::uint32_t>(link_.index));
  auto added = netlink_.order(request, "route to " + to_string(route.to));
  if (!added && added.error().error_number() == EEXIST) return {};
  return added;
}

Status InterfaceChange::remove_route(const Route& route) {
  NetlinkRequest request(RTM_DELROUTE, 0,
                         rtmsg{.rtm_family = route.to.address.family,
                               .rtm_dst_len = route.to.length,
                               .rtm_table = RT_TABLE_MAIN,
                               .rtm_protocol = route.protocol,
                               .rtm_scope = RT_SCOPE_NOWHERE});
  if (route.to.length != 0) request.add(RTA_DST, route.to.address.bytes());
  if (route.via) request.add(RTA_GATEWAY, route.via->bytes());
  if (route.metric != 0) request.add(RTA_PRIORITY, route.metric);
  request.add(RTA_OIF, static_cast<std::uint32_t>(link_.index));
  auto removed = netlink_.order(request, "removal of the route to " + to_string(route.to));
  // One that went with an address.
  if (!removed && removed.error().error_number() == ESRCH) return {};
  return removed;
}

std::string InterfaceChange::setting(std::string_view family, std::string_view name) const {
  return "/proc/sys/net/" + std::string(family) + "/conf/" + link_.name + "/" + std::string(name);
}

}  // namespace clonesafe::agent
