#include "libclonesafe/core/secret_agent.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "clonesafe/clonesafe.h"
#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/core/agent_socket.h"

namespace clonesafe::core {
namespace {

constexpr const char* kRequest = "{\"command\":\"allocate_secret\"}\n";
constexpr std::time_t kPatienceSeconds = 12;

// What came along with a part of the answer.
void take_file(msghdr& message, UniqueFd& file) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    int received = -1;
    std::memcpy(&received, CMSG_DATA(header), sizeof(received));
    file.reset(received);
  }
}

// One line with its terminating zero in place of the newline. False: none came.
bool receive(int socket, char* line, std::size_t size, UniqueFd& file) {
  for (std::size_t length = 0; length < size;) {
    // Room for one descriptor: the kernel closes any more.
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    iovec text = {.iov_base = line + length, .iov_len = size - length};
    msghdr message = {};
    message.msg_iov = &text;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t count = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    take_file(message, file);
    void* end = std::memchr(line + length, '\n', static_cast<std::size_t>(count));
    if (end != nullptr) {
      *static_cast<char*>(end) = '\0';
      return true;
    }
    length += static_cast<std::size_t>(count);
  }
  return false;
}

}  // namespace

int ask_agent_for_secret(int& file) {
  const UniqueFd socket = make_agent_socket(kPatienceSeconds);
  if (!socket || !connect_to_agent(socket.get())) return CS_E_NOT_COVERED;
  const std::size_t length = std::strlen(kRequest);
  if (::send(socket.get(), kRequest, length, MSG_NOSIGNAL) != static_cast<ssize_t>(length))
    return CS_E_NOT_COVERED;
  char line[1024];
  UniqueFd page;
  if (!receive(socket.get(), line, sizeof(line), page)) return CS_E_NOT_COVERED;
  if (std::strstr(line, "\"code\":\"limit\"") != nullptr) return CS_E_LIMIT;
  if (!page) return CS_E_NOT_COVERED;
  file = page.release();
  return 0;
}

}  // namespace clonesafe::core
