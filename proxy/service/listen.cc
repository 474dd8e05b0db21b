#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy/service/service.h"

namespace clonesafe::proxy {
namespace {

constexpr int kBacklog = 4096;

}  // namespace

Status remove_dead_socket(const Address& address) {
  const auto endpoint = numeric_endpoint(address);
  if (!endpoint) return fail(endpoint.error());
  struct stat status{};
  if (::lstat(address.path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) return fail(address.text() + ": is there, and no socket");
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return fail_errno(address.text());
  if (::connect(probe.get(), endpoint->data(), static_cast<socklen_t>(endpoint->size())) == 0 ||
      errno != ECONNREFUSED)
    return fail(address.text() + ": another process listens there");
  if (::unlink(address.path.c_str()) != 0) return fail_errno(address.text());
  return {};
}

Result<UniqueFd> listen_at(const Address& address) {
  const auto endpoint = numeric_endpoint(address);
  if (!endpoint) return fail(endpoint.error());
  const int family = endpoint->protocol().family();
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(address.text());
  if (family == AF_UNIX) {
    if (auto removed = remove_dead_socket(address); !removed) return fail(removed.error());
  } else {
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  }
  if (::bind(fd.get(), endpoint->data(), static_cast<socklen_t>(endpoint->size())) != 0 ||
      ::listen(fd.get(), kBacklog) != 0)
    return fail_errno("listen at " + address.text());
  return fd;
}

}  // namespace clonesafe::proxy
