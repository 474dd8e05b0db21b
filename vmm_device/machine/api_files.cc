#include "vmm_device/machine/api_files.h"

#include <sys/socket.h>

#include <cstring>

namespace clonesafe {
namespace {

union Control {
  cmsghdr header;  // for its alignment
  char bytes[CMSG_SPACE(kApiReplyFilesMax * sizeof(int))];
};

}  // namespace

ssize_t send_with_files(int socket, std::string_view bytes, std::span<const int> files,
                        std::size_t most, int flags) {
  if (files.size() > most) {
    errno = EINVAL;
    return -1;
  }
  Control control{};
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!files.empty()) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(files.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(files.size_bytes());
    std::memcpy(CMSG_DATA(header), files.data(), files.size_bytes());
  }
  return ::sendmsg(socket, &message, flags | MSG_NOSIGNAL);
}

ssize_t receive_with_files(int socket, std::span<char> to, ApiFiles& files, std::size_t most,
                           int flags) {
  Control control{};
  iovec part{.iov_base = to.data(), .iov_len = to.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = CMSG_SPACE(most * sizeof(int));
  const ssize_t got = ::recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  if (got < 0) return got;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = 0; CMSG_LEN(at + sizeof(int)) <= header->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + at, sizeof fd);
      files.emplace_back(fd);
    }
  }
  return got;
}

}  // namespace clonesafe
