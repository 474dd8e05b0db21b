#include "proxy/secrets/request.h"

#include <sys/socket.h>

#include <cstring>
#include <limits>

namespace clonesafe::proxy {
namespace {

// Of one message with one descriptor; the kernel closes any more.
class Packet {
 public:
  explicit Packet(std::uint32_t& command) : part_{.iov_base = &command, .iov_len = sizeof command} {
    message_.msg_iov = &part_;
    message_.msg_iovlen = 1;
    message_.msg_control = control_;
    message_.msg_controllen = CMSG_LEN(sizeof(int));
  }
  Packet(const Packet&) = delete;
  Packet& operator=(const Packet&) = delete;

  msghdr* header() { return &message_; }
  void put(int fd) {
    cmsghdr* const rights = CMSG_FIRSTHDR(&message_);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  UniqueFd take() {
    const cmsghdr* const rights = CMSG_FIRSTHDR(&message_);
    if (rights == nullptr || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS ||
        rights->cmsg_len != CMSG_LEN(sizeof(int)))
      return {};
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    return UniqueFd(fd);
  }

 private:
  alignas(cmsghdr) char control_[CMSG_SPACE(sizeof(int))] = {};
  iovec part_;
  msghdr message_ = {};
};

}  // namespace

Status send_request(int socket, std::uint32_t command, int answer) {
  Packet packet(command);
  packet.put(answer);
  if (::sendmsg(socket, packet.header(), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof command) return {};
  if (errno == EAGAIN || errno == ETOOMANYREFS) return fail("too many logins wait for it");
  if (errno == EPIPE || errno == ECONNRESET) return fail("the process that runs it has ended");
  return fail_errno("the process that runs it");
}

std::optional<CommandRequest> receive_request(int socket) {
  CommandRequest request;
  Packet packet(request.command);
  ssize_t count = 0;
  do {
    count = ::recvmsg(socket, packet.header(), MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  if (count <= 0) return std::nullopt;
  request.answer = packet.take();
  if (count != sizeof request.command) request.command = std::numeric_limits<std::uint32_t>::max();
  return request;
}

}  // namespace clonesafe::proxy
