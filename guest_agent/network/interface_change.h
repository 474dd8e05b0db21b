#ifndef CLONESAFE_GUEST_AGENT_NETWORK_INTERFACE_CHANGE_H_
#define CLONESAFE_GUEST_AGENT_NETWORK_INTERFACE_CHANGE_H_

#include <string>
#include <utility>
#include <vector>

#include "guest_agent/base/bytes.h"
#include "guest_agent/network/document.h"
#include "guest_agent/network/interface_lists.h"
#include "guest_agent/network/netlink.h"

namespace clonesafe::agent {

// Settings under /proc/sys/net/ that hold for a scope.
class ScopedSettings {
 public:
  ScopedSettings() = default;
  ScopedSettings(const ScopedSettings&) = delete;
  ScopedSettings& operator=(const ScopedSettings&) = delete;
  // Puts back what was there.
  ~ScopedSettings();
  // One that the kernel doesn't have is left out.
  Status set(std::string path, std::string_view value);

 private:
  std::vector<std::pair<std::string, std::string>> before_;
};

// Makes one interface what its plan says, with its link up all the time: first the Ethernet address
// and what IPv6 derives from it, then IP addresses, the new ones before the old ones go, then
// routes; last it tells the network, and the kernel reads back that all of it holds. Done again
// after a failure it goes on where it stopped.
class InterfaceChange {
 public:
  // `secret` replaces the one that the kernel makes IPv6 addresses of, if it does. The references
  // outlive this object.
  InterfaceChange(Netlink& netlink, const Link& link, const InterfacePlan& plan, const Id16& secret)
      : netlink_(netlink), link_(link), plan_(plan), secret_(secret) {}
  Status run();

 private:
  Status set_mtu();
  Status set_mac();
  Status renew_link_local();
  Status renew_stable_secret(const std::vector<LinkAddress>& addresses);
  Status set_addresses();
  Status set_routes();
  Status announce();
  Status restore_neighbours();
  Status check();

  Status set_link(std::uint16_t attribute, std::span<const std::uint8_t> value,
                  std::string_view what);
  Status add_address(const IpPrefix& prefix);
  Status remove_address(const LinkAddress& address);
  Status add_route(const RoutePlan& route);
  Status remove_route(const Route& route);
  // Whether this address belongs to what the interface was before.
  bool is_stale(const LinkAddress& address) const;
  std::string setting(std::string_view family, std::string_view name) const;

  Netlink& netlink_;
  const Link& link_;
  const InterfacePlan& plan_;
  const Id16& secret_;
  std::vector<PermanentNeighbour> neighbours_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_NETWORK_INTERFACE_CHANGE_H_
