#include "proxy/service/diverted.h"

#include <ifaddrs.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

#include "libclonesafe/base/unique_fd.h"
#include "proxy/core/network.h"

namespace clonesafe::proxy {
namespace {

// linux/netfilter_ipv6/ip6_tables.h has it, which C++ can't read.
constexpr int kIpv6OriginalDestination = 80;

// Before the kernel changed it: where it keeps such changes.
Result<Endpoint> original_destination(int fd, int family) {
  Endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  const bool ipv6 = family == AF_INET6;
  if (::getsockopt(fd, ipv6 ? SOL_IPV6 : SOL_IP, ipv6 ? kIpv6OriginalDestination : SO_ORIGINAL_DST,
                   endpoint.data(), &size) != 0)
    return fail_errno("its destination is not known (SO_ORIGINAL_DST)");
  endpoint.resize(size);
  return endpoint;
}

Result<Endpoint> local_address(int fd) {
  Endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(fd, endpoint.data(), &size) != 0) return fail_errno("getsockname");
  endpoint.resize(size);
  return endpoint;
}

}  // namespace

// Not by bind(2), which may be allowed to bind to addresses of others (net.ipv4.ip_nonlocal_bind).
bool is_of_this_machine(const Endpoint& peer) {
  if (is_local(peer)) return true;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return false;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> freed(all, &::freeifaddrs);
  const auto wanted = ip_of(peer);
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr) continue;
    const int family = one->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    const Endpoint address(one->ifa_addr,
                           family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    if (ip_of(address) == wanted) return true;
  }
  return false;
}

Result<Endpoint> diverted(int fd, const Endpoint& from, const ServiceConfig& config,
                          const OwnPorts& own_ports) {
  auto destination = config.transparent == Transparent::kRedirect
                         ? original_destination(fd, from.protocol().family())
                         : local_address(fd);
  if (!destination) return fail(destination.error());
  const auto listens_there = [&](const Address& address) {
    return address.port == port_of(*destination) && is_of_this_machine(*destination);
  };
  if (std::ranges::any_of(config.listen, listens_there))
    return fail("its destination is the proxy itself, to which nothing diverted it");
  if (own_ports.has(from) && is_of_this_machine(from))
    return fail("it is the proxy's own connection to " + to_text(*destination) +
                ", which a rule diverts that must leave the mark " +
                std::to_string(config.upstream.mark) + " alone");
  const auto contains = [&](const Network& network) { return network.contains(*destination); };
  if (std::ranges::none_of(config.destinations, contains))
    return fail("its destination " + to_text(*destination) + " is none of 'destinations'");
  return destination;
}

Status make_transparent(int fd) {
  int family = 0;
  socklen_t size = sizeof family;
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) return fail_errno("SO_DOMAIN");
  const int on = 1;
  const int done = family == AF_INET6 ? ::setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &on, sizeof on)
                                      : ::setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof on);
  if (done != 0) return fail_errno("IP_TRANSPARENT (which takes CAP_NET_ADMIN)");
  return {};
}

Status check_mark(const ServiceConfig& config) {
  const std::uint32_t mark = config.upstream.mark;
  if (mark == 0) return {};
  const UniqueFd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!probe || ::setsockopt(probe.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0)
    return fail_errno("service '" + config.name + "': 'upstream.mark' (which takes CAP_NET_ADMIN)");
  return {};
}

}  // namespace clonesafe::proxy
