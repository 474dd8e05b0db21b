#include "tests/unit/proxy/wire.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace clonesafe::proxy {
namespace {

constexpr std::uint16_t kMarkerPort = 9;
constexpr std::size_t kTcp = 6, kUdp = 17;

// A socket address of a number in either family.
struct Name {
  sockaddr_storage address{};
  socklen_t size = 0;

  Name(const std::string& host, int port) {
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
      v4.sin_family = AF_INET;
      v4.sin_port = htons(static_cast<std::uint16_t>(port));
      std::memcpy(&address, &v4, size = sizeof v4);
    } else {
      EXPECT_EQ(::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr), 1) << host;
      v6.sin6_family = AF_INET6;
      v6.sin6_port = htons(static_cast<std::uint16_t>(port));
      std::memcpy(&address, &v6, size = sizeof v6);
    }
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

UniqueFd tcp_socket(const Name& name, int flags = 0) {
  return UniqueFd(::socket(name.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

UniqueFd this_namespace() {
  return UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

void must(bool done, const char* what) {
  if (done) return;
  ADD_FAILURE() << what << ": " << std::strerror(errno);
  std::abort();
}

// linux/ipv6.h has it, with names that netinet/in.h has too.
struct In6Request {
  in6_addr address;
  std::uint32_t prefix;
  int interface;
};

UniqueFd make_device(const char* ipv4, const char* ipv6) {
  UniqueFd device(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  must(static_cast<bool>(device), "/dev/net/tun");
  ifreq request{};
  std::strncpy(request.ifr_name, "wire", IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  must(::ioctl(device.get(), TUNSETIFF, &request) == 0, "TUNSETIFF");
  const UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto set_address = [&](const char* text, unsigned long what) {
    const Name name(text, 0);
    std::memcpy(&request.ifr_addr, name.get(), sizeof(sockaddr_in));
    must(::ioctl(control.get(), what, &request) == 0, text);
  };
  set_address(ipv4, SIOCSIFADDR);
  set_address("255.255.255.0", SIOCSIFNETMASK);
  for (const char* up : {"wire", "lo"}) {
    std::strncpy(request.ifr_name, up, IFNAMSIZ - 1);
    must(::ioctl(control.get(), SIOCGIFFLAGS, &request) == 0, "SIOCGIFFLAGS");
    request.ifr_flags |= IFF_UP;
    must(::ioctl(control.get(), SIOCSIFFLAGS, &request) == 0, "SIOCSIFFLAGS");
  }
  In6Request six{.address = {}, .prefix = 64, .interface = 0};
  must(::inet_pton(AF_INET6, ipv6, &six.address) == 1, ipv6);
  six.interface = static_cast<int>(::if_nametoindex("wire"));
  const UniqueFd control6(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  must(::ioctl(control6.get(), SIOCSIFADDR, &six) == 0, ipv6);
  return device;
}

UniqueFd make_marker(const char* to) {
  UniqueFd marker(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const Name name(to, kMarkerPort);
  must(::connect(marker.get(), name.get(), name.size) == 0, "marker");
  return marker;
}

std::uint32_t number_at(const std::string& bytes, std::size_t at, std::size_t size) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < size; ++i)
    number = number << 8 | static_cast<unsigned char>(bytes.at(at + i));
  return number;
}

void put(std::string& bytes, std::size_t at, std::uint32_t number, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i)
    bytes.at(at + i) = static_cast<char>(number >> 8 * (size - 1 - i) & 0xff);
}

bool is_ipv4(const std::string& packet) {
  return !packet.empty() && static_cast<unsigned char>(packet[0]) >> 4 == 4;
}
std::size_t header_of(const std::string& packet) {
  return is_ipv4(packet) ? (number_at(packet, 0, 1) & 0xf) * 4 : 40;
}
std::size_t protocol_of(const std::string& packet) {
  return number_at(packet, is_ipv4(packet) ? 9 : 6, 1);
}

std::uint32_t sum_of(const std::string& bytes, std::size_t from, std::size_t to) {
  std::uint32_t sum = 0;
  for (std::size_t at = from; at < to; ++at)
    sum += static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at]))
           << ((at - from) % 2 == 0 ? 8 : 0);
  return sum;
}
std::uint32_t folded(std::uint32_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

Segment parse(bool from_guest, const std::string& packet) {
  const std::size_t at = header_of(packet);
  const std::size_t payload_at = at + (number_at(packet, at + 12, 1) >> 4) * 4;
  return {.from_guest = from_guest,
          .packet = packet,
          .tcp_at = at,
          .source = static_cast<std::uint16_t>(number_at(packet, at, 2)),
          .destination = static_cast<std::uint16_t>(number_at(packet, at + 2, 2)),
          .seq = number_at(packet, at + 4, 4),
          .ack = number_at(packet, at + 8, 4),
          .flags = static_cast<std::uint8_t>(number_at(packet, at + 13, 1)),
          .hops = static_cast<std::uint8_t>(number_at(packet, is_ipv4(packet) ? 8 : 7, 1)),
          .payload = packet.substr(payload_at)};
}

}  // namespace

std::string next_segment(const Segment& last, std::uint32_t seq, std::uint32_t ack,
                         const std::string& payload) {
  constexpr std::uint32_t kPushAck = 0x18;
  std::string packet = last.packet.substr(0, last.packet.size() - last.payload.size()) + payload;
  const std::size_t at = last.tcp_at;
  put(packet, at + 4, seq, 4);
  put(packet, at + 8, ack, 4);
  put(packet, at + 13, kPushAck, 1);
  const std::size_t size = packet.size() - at;
  const bool ipv4 = is_ipv4(packet);
  if (ipv4) {
    put(packet, 2, static_cast<std::uint32_t>(packet.size()), 2);
    put(packet, 10, 0, 2);
    put(packet, 10, folded(sum_of(packet, 0, at)), 2);
  } else {
    put(packet, 4, static_cast<std::uint32_t>(size), 2);
  }
  put(packet, at + 16, 0, 2);
  // Both addresses are in front of what they are summed up with.
  const std::uint32_t addresses = sum_of(packet, ipv4 ? 12 : 8, at);
  const std::uint32_t rest = static_cast<std::uint32_t>(kTcp + size);
  put(packet, at + 16, folded(addresses + rest + sum_of(packet, at, packet.size())), 2);
  return packet;
}

Wire& Wire::get() {
  static Wire wire;
  return wire;
}

Wire::Wire() {
  must(::unshare(CLONE_NEWNET | (::geteuid() == 0 ? 0 : CLONE_NEWUSER)) == 0, "unshare");
  peers_ = this_namespace();
  peer_device_ = make_device(kPeer4, kPeer6);
  peer_marker_ = make_marker(kGuest4);
  must(::unshare(CLONE_NEWNET) == 0, "unshare");
  guest_ = this_namespace();
  guest_device_ = make_device(kGuest4, kGuest6);
  guest_marker_ = make_marker(kPeer4);
  thread_ = std::thread([this] { carry(); });
}

Wire::~Wire() {
  over_ = true;
  thread_.join();
}

void Wire::go_to(const UniqueFd& space) const {
  must(::setns(space.get(), CLONE_NEWNET) == 0, "setns");
}

void Wire::carry() {
  std::array<char, 65'536> buffer;
  while (!over_) {
    std::array<pollfd, 2> both{{{.fd = guest_device_.get(), .events = POLLIN, .revents = 0},
                                {.fd = peer_device_.get(), .events = POLLIN, .revents = 0}}};
    ::poll(both.data(), both.size(), 50);
    for (const pollfd& one : both) {
      ssize_t size = 0;
      while ((size = ::read(one.fd, buffer.data(), buffer.size())) > 0)
        pass(one.fd == guest_device_.get(), {buffer.data(), static_cast<std::size_t>(size)});
    }
  }
}

void Wire::pass(bool from_guest, const std::string& packet) {
  const std::size_t protocol = protocol_of(packet);
  if (protocol == kTcp) {
    const Segment segment = parse(from_guest, packet);
    const std::lock_guard lock(mutex_);
    seen_.push_back(segment);
    news_.notify_all();
    if (lost_ && lost_(segment)) return;
  }
  deliver(!from_guest, packet);
  if (protocol != kUdp) return;
  const std::uint32_t marker = number_at(packet, packet.size() - 4, 4);
  const std::lock_guard lock(mutex_);
  (from_guest ? marker_from_guest_ : marker_from_peer_) = marker;
  news_.notify_all();
}

void Wire::deliver(bool to_guest, const std::string& packet) {
  const UniqueFd& device = to_guest ? guest_device_ : peer_device_;
  EXPECT_EQ(::write(device.get(), packet.data(), packet.size()),
            static_cast<ssize_t>(packet.size()));
}

std::size_t Wire::mark() {
  const std::uint32_t marker = ++marker_;
  std::string bytes(4, '\0');
  put(bytes, 0, marker, bytes.size());
  std::unique_lock lock(mutex_);
  // What peers sent has arrived; then what the guest answered.
  for (const bool from_guest : {false, true}) {
    lock.unlock();
    const UniqueFd& socket = from_guest ? guest_marker_ : peer_marker_;
    // An error may be due of an earlier one, to which nobody listens.
    while (::send(socket.get(), bytes.data(), bytes.size(), 0) < 0 && errno == ECONNREFUSED) {
    }
    lock.lock();
    EXPECT_TRUE(news_.wait_for(lock, std::chrono::seconds(20), [&] {
      return (from_guest ? marker_from_guest_ : marker_from_peer_) == marker;
    })) << "the wire is cut";
  }
  return seen_.size();
}

std::vector<Segment> Wire::since(std::size_t mark) {
  const std::lock_guard lock(mutex_);
  return {seen_.begin() + static_cast<std::ptrdiff_t>(mark), seen_.end()};
}

void Wire::forget() {
  mark();
  const std::lock_guard lock(mutex_);
  seen_.clear();
}

bool Wire::wait_for(const std::function<bool(const Segment&)>& what, std::size_t mark) {
  std::unique_lock lock(mutex_);
  return news_.wait_for(lock, std::chrono::seconds(20), [&] {
    for (; mark < seen_.size(); ++mark) {
      if (what(seen_[mark])) return true;
    }
    return false;
  });
}

void Wire::lose(std::function<bool(const Segment&)> what) {
  const std::lock_guard lock(mutex_);
  lost_ = std::move(what);
}

UniqueFd listen_at_host(const std::string& host, int& port) {
  const Name name(host, port);
  UniqueFd fd = tcp_socket(name);
  EXPECT_EQ(::bind(fd.get(), name.get(), name.size), 0) << std::strerror(errno);
  EXPECT_EQ(::listen(fd.get(), 16), 0);
  port = own_port(fd);
  return fd;
}

UniqueFd connect_to_host(const std::string& host, int port) {
  const Name name(host, port);
  UniqueFd fd = tcp_socket(name);
  EXPECT_EQ(::connect(fd.get(), name.get(), name.size), 0) << std::strerror(errno);
  return fd;
}

UniqueFd begin_connect(const std::string& host, int port) {
  const Name name(host, port);
  UniqueFd fd = tcp_socket(name, SOCK_NONBLOCK);
  EXPECT_EQ(::connect(fd.get(), name.get(), name.size), -1);
  EXPECT_EQ(errno, EINPROGRESS);
  return fd;
}

std::uint16_t own_port(const UniqueFd& fd) {
  sockaddr_in6 name{};  // the port is where it is in IPv4's
  socklen_t size = sizeof name;
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &size), 0);
  return ntohs(name.sin6_port);
}

}  // namespace clonesafe::proxy
