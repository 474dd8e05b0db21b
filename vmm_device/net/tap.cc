#include "vmm_device/net/tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "vmm_device/net/namespace.h"

namespace clonesafe::network {
namespace {

constexpr int kHeaderSize = 12;

Status set_offloads(int fd, const std::string& name, const Offloads& offloads) {
  unsigned flags = 0;
  if (offloads.checksum) {
    flags |= TUN_F_CSUM;
    if (offloads.tso4) flags |= TUN_F_TSO4;
    if (offloads.tso6) flags |= TUN_F_TSO6;
  }
  if (::ioctl(fd, TUNSETOFFLOAD, flags) != 0) return fail_errno("tap " + name + ": TUNSETOFFLOAD");
  return {};
}

Result<std::uint16_t> mtu_of(const std::string& name) {
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("socket");
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  if (::ioctl(socket.get(), SIOCGIFMTU, &request) != 0) return fail_errno("tap " + name + ": MTU");
  return static_cast<std::uint16_t>(std::clamp(request.ifr_mtu, 68, 65535));
}

Error not_opened(const std::string& name) {
  if (errno == EBUSY) return Error("tap " + name + ": in use by another process");
  if (errno == EINVAL) return Error("tap " + name + ": an interface of another kind has this name");
  return Error::from_errno("tap " + name);
}

}  // namespace

Result<Tap> open_tap(const std::string& name, const std::string& network_namespace) {
  if (auto valid = check_interface_name(name); !valid) return fail(std::move(valid).error());
  const auto inside = InNamespace::enter(network_namespace);
  if (!inside) return fail(inside.error());
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return fail_errno("/dev/net/tun");
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return fail(not_opened(name));
  int size = kHeaderSize;
  if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &size) != 0)
    return fail_errno("tap " + name + ": TUNSETVNETHDRSZ");
  // Until a driver says what it takes.
  if (auto set = set_offloads(fd.get(), name, {}); !set) return fail(std::move(set).error());
  auto mtu = mtu_of(name);
  if (!mtu) return fail(std::move(mtu).error());
  Tap tap{.fd = std::move(fd), .name = name, .mtu = *mtu, .set_offloads = {}};
  tap.set_offloads = [raw = tap.fd.get(), name](const Offloads& offloads) {
    return set_offloads(raw, name, offloads);
  };
  return tap;
}

}  // namespace clonesafe::network
