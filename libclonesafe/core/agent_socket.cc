#include "libclonesafe/core/agent_socket.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cstdlib>
#include <cstring>

namespace clonesafe::core {
namespace {

constexpr const char* kSocketPath = "/run/clonesafe/agent.sock";

}  // namespace

UniqueFd make_agent_socket(std::time_t seconds) {
  const timeval patience = {.tv_sec = seconds, .tv_usec = 0};
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0 ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0) {
    return {};
  }
  return socket;
}

bool connect_to_agent(int socket) {
  // secure_getenv: whoever starts a set-user-id program doesn't choose its agent.
  const char* path = ::secure_getenv("CLONESAFE_AGENT_SOCKET");
  if (path == nullptr || *path == '\0') path = kSocketPath;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(path);
  if (length >= sizeof(address.sun_path)) return false;
  std::memcpy(address.sun_path, path, length);
  return ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

}  // namespace clonesafe::core
