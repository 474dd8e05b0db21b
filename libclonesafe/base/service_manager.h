#ifndef CLONESAFE_BASE_SERVICE_MANAGER_H_
#define CLONESAFE_BASE_SERVICE_MANAGER_H_

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe {

// Tells the service manager how the process is: one datagram, as sd_notify(3) documents the
// protocol. Without one (no NOTIFY_SOCKET) nothing happens. (libsystemd would bring a megabyte of
// other libraries into a process that is to stay small.)
inline Status notify_service_manager(const std::string& lines) {
  const char* const variable = std::getenv("NOTIFY_SOCKET");  // NOLINT(concurrency-mt-unsafe)
  if (variable == nullptr || *variable == '\0') return {};
  const std::string_view name(variable);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (name.size() >= sizeof address.sun_path) return fail("NOTIFY_SOCKET is too long a name");
  name.copy(address.sun_path, name.size());
  if (name.front() == '@') address.sun_path[0] = '\0';  // an abstract one
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  if (::sendto(fd.get(), lines.data(), lines.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
               reinterpret_cast<const sockaddr*>(&address), size) < 0)
    return fail_errno("NOTIFY_SOCKET " + std::string(name));
  return {};
}

}  // namespace clonesafe

#endif  // CLONESAFE_BASE_SERVICE_MANAGER_H_
