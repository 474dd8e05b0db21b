#include "proxy/core/farewell.h"

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace clonesafe::proxy {
namespace {

bool set(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof value) == 0;
}

// Afterwards neither close(2) nor connect(2) sends. Takes CAP_NET_ADMIN.
bool mute(int fd) {
  return set(fd, IPPROTO_TCP, TCP_REPAIR, 1);
}

// What it sends comes to nobody: the loopback device drops what is for another machine. Takes no
// right since Linux 5.7, if no device was chosen before.
bool turn_inwards(int fd) {
  constexpr std::string_view kLoopback = "lo";
  return ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, kLoopback.data(), kLoopback.size()) == 0;
}

// Nothing that comes reaches TCP: no acknowledgement, no reset. Takes no right, or CAP_NET_ADMIN
// where the kernel has it so.
bool drop_all(int fd) {
  int locked = 0;
  socklen_t size = sizeof locked;
  if (::getsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &locked, &size) == 0 && locked != 0)
    return true;  // it does so already
  sock_filter code = BPF_STMT(BPF_RET | BPF_K, 0);
  const sock_fprog program{.len = 1, .filter = &code};
  return ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0 &&
         set(fd, SOL_SOCKET, SO_LOCK_FILTER, 1);
}

void reset_at_close(int fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

struct Name {
  sockaddr_storage address{};
  socklen_t size = sizeof(sockaddr_storage);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&address); }
};

using MakeRoom = std::function<void()>;

UniqueFd make_socket(int family, const MakeRoom& make_room) {
  constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  UniqueFd made(::socket(family, kType, IPPROTO_TCP));
  if (made || (errno != EMFILE && errno != ENFILE) || !make_room) return made;
  make_room();
  return UniqueFd(::socket(family, kType, IPPROTO_TCP));
}

// A socket that drops everything and is bound where the other one is.
UniqueFd make_beside(int fd, const Name& ours, const MakeRoom& make_room) {
  UniqueFd beside = make_socket(ours.address.ss_family, make_room);
  if (!beside || !drop_all(beside.get())) return {};
  // The address may be gone, and may come back; and may be another machine's, whose connections
  // tproxy brings.
  if (ours.address.ss_family == AF_INET6) {
    set(beside.get(), IPPROTO_IPV6, IPV6_FREEBIND, 1);
    set(beside.get(), IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
  } else {
    set(beside.get(), IPPROTO_IP, IP_FREEBIND, 1);
    set(beside.get(), IPPROTO_IP, IP_TRANSPARENT, 1);
  }
  // With TCP_REPAIR a port is had whoever has it; without it, if both allow that.
  if (!mute(beside.get())) {
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set(beside.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  }
  if (::bind(beside.get(), ours.get(), ours.size) != 0) return {};
  return beside;
}

// A connection's segments come to who listens at its port, when the connection is no more: in no
// moment to nobody.
UniqueFd listen_beside(int fd, const Name& ours, const MakeRoom& make_room) {
  UniqueFd listener = make_beside(fd, ours, make_room);
  if (!listener || ::listen(listener.get(), 1) != 0) return {};
  return listener;
}

// Where others are listened for the connection itself has to be there. The kernel takes no second
// one with these ends, so for two system calls there is none. What comes meanwhile comes to who
// listens at this address last, and is dropped; a SYN comes again after a second.
UniqueFd take_place(int fd, const Name& ours, const MakeRoom& make_room) {
  Name peer;
  if (::getpeername(fd, peer.get(), &peer.size) != 0) return {};
  UniqueFd next = make_beside(fd, ours, make_room);
  const UniqueFd meanwhile = listen_beside(fd, ours, make_room);
  if (!next || !meanwhile) return {};
  const sockaddr nobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  if (!mute(fd) || ::connect(fd, &nobody, sizeof nobody) != 0) return {};
  // In repair it is established without a packet.
  if (::connect(next.get(), peer.get(), peer.size) != 0) return {};
  return next;
}

}  // namespace

bool silence_socket(int fd) {
  return drop_all(fd) && mute(fd);
}

Farewell abandon_socket(int fd) {
  Farewell how = Farewell::kSilent;
  if (!mute(fd)) {
    set(fd, IPPROTO_IP, IP_TTL, 1);
    set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 1);
    reset_at_close(fd);
    if (!turn_inwards(fd)) how = Farewell::kShortLived;
  }
  ::close(fd);
  return how;
}

Replaced replace_socket(int fd, Opener opener, const MakeRoom& make_room) {
  UniqueFd tombstone;
  Name ours;
  // From here on the connection hears nothing that it could answer.
  if (drop_all(fd) && ::getsockname(fd, ours.get(), &ours.size) == 0)
    tombstone = opener == Opener::kThisEnd ? listen_beside(fd, ours, make_room)
                                           : take_place(fd, ours, make_room);
  return {.how = abandon_socket(fd), .tombstone = std::move(tombstone)};
}

void reset_socket(int fd) {
  reset_at_close(fd);
  ::close(fd);
}

}  // namespace clonesafe::proxy
