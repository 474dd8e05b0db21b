#include "tests/lab/nested/host_network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

#include "libclonesafe/base/network_interface.h"
#include "vmm_device/net/namespace.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
using network::InNamespace;

// As `ip netns add` does it.
Status make_namespace(const std::string& name) {
  const fs::path path = "/run/netns/" + name;
  fs::create_directories(path.parent_path());
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0444));
  if (!file) return fail_errno(path.string());
  Status made;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      made = fail_errno("unshare");
    } else if (::mount("/proc/thread-self/ns/net", path.c_str(), "none", MS_BIND, nullptr) != 0) {
      made = fail_errno("bind " + path.string());
    }
  }).join();
  return made;
}

// One that stays when nobody has it open.
Status make_tap(const char* name) {
  const UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (!fd) return fail_errno("/dev/net/tun");
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return fail_errno(name);
  if (::ioctl(fd.get(), TUNSETPERSIST, 1) != 0) return fail_errno("TUNSETPERSIST");
  return {};
}

Result<UniqueFd> open_capture(const char* interface) {
  UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL)));
  if (!fd) return fail_errno("capture: socket");
  const int size = 16 << 20;
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(::if_nametoindex(interface));
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("capture on " + std::string(interface));
  return fd;
}

Result<UniqueFd> bound_socket(int type, int port) {
  UniqueFd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (!fd || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("port " + std::to_string(port));
  return fd;
}

std::string ipv4_text(std::string_view bytes) {
  char text[INET_ADDRSTRLEN] = "";
  (void)::inet_ntop(AF_INET, bytes.data(), text, sizeof text);
  return text;
}

Captured parse(std::string_view frame) {
  Captured captured;
  network::MacAddress mac;
  if (frame.size() >= 12) frame.substr(6, 6).copy(reinterpret_cast<char*>(mac.bytes.data()), 6);
  captured.mac = network::to_string(mac);
  if (frame.size() >= 34 && frame.substr(12, 2) == std::string_view("\x08\0", 2))
    captured.ip = ipv4_text(frame.substr(26, 4));
  if (frame.size() >= 42 && frame.substr(12, 2) == "\x08\x06")
    captured.ip = ipv4_text(frame.substr(28, 4));
  if (const auto at = frame.find("number "); at != std::string_view::npos)
    captured.number = std::strtoull(std::string(frame.substr(at + 7)).c_str(), nullptr, 10);
  // RFC 826: the sender's address at 28, the target's at 38.
  captured.frame = frame;
  captured.announces = frame.size() >= 42 && frame.substr(12, 2) == "\x08\x06" &&
                       frame.substr(28, 4) == frame.substr(38, 4);
  return captured;
}

}  // namespace

const std::string HostNetwork::kGuestUp =
    std::string(
        // Its queue must lose nothing of its own accord, as fq_codel, Debian's default, does.
        "echo pfifo_fast >/proc/sys/net/core/default_qdisc; "
        "while read -r module; do insmod /lib/modules/net/$module; done </lib/modules/net/load; ip "
        "addr add ") +
    kGuest + "/24 dev eth0 && ip link set eth0 up && arp -i eth0 -s " + kHost + " " + kHostMac;

HostNetwork::HostNetwork(HostNetwork&& other) noexcept
    : name_(std::exchange(other.name_, {})),
      capture_(std::move(other.capture_)),
      sink_(std::move(other.sink_)),
      server_(std::move(other.server_)) {}

HostNetwork::~HostNetwork() {
  if (name_.empty()) return;
  const std::string path = "/run/netns/" + name_;
  (void)::umount2(path.c_str(), MNT_DETACH);
  (void)::unlink(path.c_str());
}

std::optional<HostNetwork> HostNetwork::made(HostNetwork network, const Status& status) {
  if (status) return network;
  ADD_FAILURE() << "network " << network.name() << ": " << status.error().message();
  return std::nullopt;
}

std::optional<HostNetwork> HostNetwork::make(const std::string& name, const fs::path& files) {
  HostNetwork network(name);
  auto status = network.set_up_tap();
  if (status) status = network.set_up_ends(files);
  return made(std::move(network), status);
}

std::optional<HostNetwork> HostNetwork::make_bare(const std::string& name) {
  HostNetwork network(name);
  const auto status = network.set_up_tap();
  return made(std::move(network), status);
}

Status HostNetwork::set_up_tap() const {
  if (auto made = make_namespace(name_); !made) return made;
  const auto inside = InNamespace::enter(name_);
  if (!inside) return fail(inside.error());
  if (auto made = make_tap(kTap); !made) return made;
  const auto configured = lab::run(
      {"sh", "-c",
       std::string("ip link set lo up && ip link set ") + kTap + " address " + kHostMac +
           " && ip addr add " + kHost + "/24 dev " + kTap + " && ip link set " + kTap + " up"},
      Seconds(20));
  if (!configured) return fail(configured.error());
  if (configured->status != 0) return fail(configured->output);
  return {};
}

Status HostNetwork::set_up_ends(const fs::path& files) {
  const auto inside = InNamespace::enter(name_);
  if (!inside) return fail(inside.error());
  auto capture = open_capture(kTap);
  if (!capture) return fail(capture.error());
  capture_ = std::move(*capture);
  auto sink = bound_socket(SOCK_DGRAM, kStreamPort);
  if (!sink) return fail(sink.error());
  sink_ = std::move(*sink);
  auto server = Process::start({"httpd", "-f", "-p", "80", "-h", files.string()});
  if (!server) return fail(server.error());
  server_.emplace(std::move(*server));
  return {};
}

std::vector<Captured> HostNetwork::captured() const {
  std::vector<Captured> all;
  std::string frame(70'000, '\0');
  for (;;) {
    sockaddr_ll from{};
    socklen_t size = sizeof from;
    const ssize_t length = ::recvfrom(capture_.get(), frame.data(), frame.size(), 0,
                                      reinterpret_cast<sockaddr*>(&from), &size);
    if (length < 0) return all;
    if (from.sll_pkttype == PACKET_OUTGOING) continue;  // the host's own
    all.push_back(parse(std::string_view(frame).substr(0, static_cast<std::size_t>(length))));
  }
}

Result<std::string> HostNetwork::upload(std::size_t size, const std::function<void()>& send) const {
  UniqueFd listener;
  {
    const auto inside = InNamespace::enter(name_);
    if (!inside) return fail(inside.error());
    auto bound = bound_socket(SOCK_STREAM, kUploadPort);
    if (!bound) return fail(bound.error());
    listener = std::move(*bound);
  }
  if (::listen(listener.get(), 1) != 0) return fail_errno("listen");
  std::string received;
  std::thread receiver([&] {
    const timeval limit{.tv_sec = 60, .tv_usec = 0};
    (void)::setsockopt(listener.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const UniqueFd stream(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    (void)::setsockopt(stream.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    std::string piece(1 << 16, '\0');
    while (received.size() < size) {
      const ssize_t length = ::recv(stream.get(), piece.data(), piece.size(), 0);
      if (length <= 0) return;
      received.append(piece, 0, static_cast<std::size_t>(length));
    }
  });
  send();
  receiver.join();
  return received;
}

}  // namespace clonesafe::lab
