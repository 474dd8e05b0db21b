#include "proxy/upstream/source_port.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "clonesafe/clonesafe.h"

namespace clonesafe::proxy {
namespace {

// IANA's dynamic ports; Linux's own range contains them.
constexpr std::uint16_t kFirst = 49152;
constexpr std::uint16_t kCount = 16384;
constexpr int kAttempts = 32;

bool bind_to(int fd, int family, std::uint16_t port) {
  if (family == AF_INET6) {
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(port);
    return ::bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0;
  }
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(port);
  return ::bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0;
}

}  // namespace

bool bind_random_port(int fd, const Endpoint& to, const std::set<std::uint16_t>& but) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::uint16_t random = 0;
    if (cs_random(&random, sizeof random) != 0) return false;
    const auto port = static_cast<std::uint16_t>(kFirst + random % kCount);
    if (!but.contains(port) && bind_to(fd, to.protocol().family(), port)) return true;
  }
  return false;
}

Status bind_free_port(int fd, const Endpoint& to) {
  if (bind_to(fd, to.protocol().family(), 0)) return {};
  return fail_errno("a source port");
}

}  // namespace clonesafe::proxy
