#include "proxy/core/farewell.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace clonesafe::proxy {
namespace {

void set(int fd, int level, int option, int value) {
  // A socket of another family refuses it, which does no harm.
  [[maybe_unused]] const int set = ::setsockopt(fd, level, option, &value, sizeof value);
}

void reset_at_close(int fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace

Farewell abandon_socket(int fd) {
  const int on = 1;
  Farewell how = Farewell::kSilent;
  if (::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) != 0) {
    set(fd, IPPROTO_IP, IP_TTL, 1);
    set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 1);
    reset_at_close(fd);
    how = Farewell::kShortLived;
  }
  ::close(fd);
  return how;
}

void reset_socket(int fd) {
  reset_at_close(fd);
  ::close(fd);
}

}  // namespace clonesafe::proxy
