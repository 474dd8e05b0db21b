// Streams to the host over vsock, and datagrams over the network.
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <string>
#include <vector>

#include "libclonesafe/base/unique_fd.h"
#include "tests/lab/nested/motion.h"

namespace clonesafe::lab {
namespace {

bool send_all(int fd, const void* data, std::size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t sent = ::send(fd, at, size, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    at += sent;
    size -= static_cast<std::size_t>(sent);
  }
  return true;
}

bool receive_all(int fd, void* data, std::size_t size) {
  return ::recv(fd, data, size, MSG_WAITALL) == static_cast<ssize_t>(size);
}

// Others' turn: it is the moments that count, not the speed.
void rest(std::minstd_rand& random) {
  ::poll(nullptr, 0, static_cast<int>(random() % 30));
}

// Nothing if it is refused or reset, as it is in a clone whose host end is not there yet.
UniqueFd connect_to_host(Motion& motion, unsigned port) {
  UniqueFd fd(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_HOST;
  address.svm_port = port;
  // Linux's own limit of 2 s is over whenever the machine stood still, or its host is slow.
  const timeval limit{.tv_sec = 600, .tv_usec = 0};
  if (fd) ::setsockopt(fd.get(), AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof limit);
  if (fd && ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0)
    return fd;
  (errno == ETIMEDOUT ? motion.late_connections : motion.failed_connections).fetch_add(1);
  ::poll(nullptr, 0, 50);
  return {};
}

// Some records, then their answers, until the stream breaks.
void talk(Motion& motion, int fd, int stream, std::minstd_rand& random) {
  std::atomic<std::uint64_t>& acknowledged = motion.acknowledged[stream];
  const auto id = static_cast<std::uint64_t>(stream);
  const Hello hello{.stream = id, .acknowledged = acknowledged};
  if (!send_all(fd, &hello, sizeof hello)) return;
  for (;;) {
    const std::uint64_t last = acknowledged + 1 + random() % 16;
    for (std::uint64_t number = acknowledged + 1; number <= last; ++number) {
      const auto bytes = record_bytes(id, number);
      const Record record{.number = number, .size = bytes.size()};
      if (!send_all(fd, &record, sizeof record) || !send_all(fd, bytes.data(), bytes.size()))
        return;
    }
    while (acknowledged < last) {
      std::uint64_t number = 0;
      if (!receive_all(fd, &number, sizeof number)) return;
      if (number != acknowledged + 1)
        return found_wrong(motion.beats, "stream's answer", acknowledged + 1, number);
      ++acknowledged;
    }
    rest(random);
  }
}

// The end of one direction goes through, and the other goes on.
bool exchange(int fd, std::uint64_t number, Motion& motion) {
  std::vector<char> bytes;
  for (std::uint64_t part = 0; part < 1 + number % 8; ++part) {
    const auto more = record_bytes(kStreams + part, number);
    bytes.insert(bytes.end(), more.begin(), more.end());
  }
  if (!send_all(fd, bytes.data(), bytes.size()) || ::shutdown(fd, SHUT_WR) != 0) return false;
  std::uint64_t sum = 0;
  if (!receive_all(fd, &sum, sizeof sum)) return false;
  const std::uint64_t expected = sum_of(bytes.data(), bytes.size(), kNoSum);
  if (sum != expected) found_wrong(motion.beats, "exchange's sum", expected, sum);
  char more = 0;
  return ::recv(fd, &more, 1, 0) == 0;
}

}  // namespace

void keep_stream(Motion& motion, int stream) {
  std::minstd_rand random(static_cast<unsigned>(stream));
  for (;;) {
    const UniqueFd fd = connect_to_host(motion, kStreamsPort);
    if (!fd) continue;
    motion.connections[stream].fetch_add(1);
    talk(motion, fd.get(), stream, random);
  }
}

// Who waits on a stream of the source's must be told in a clone: nobody else would wake it.
void keep_idle(Motion& motion) {
  for (;;) {
    const UniqueFd fd = connect_to_host(motion, kStreamsPort);
    const Hello hello{.stream = kIdle, .acknowledged = 0};
    if (!fd || !send_all(fd.get(), &hello, sizeof hello)) continue;
    char nothing = 0;
    static_cast<void>(receive_all(fd.get(), &nothing, sizeof nothing));
    motion.idle_ends.fetch_add(1);
  }
}

void keep_exchanges(Motion& motion) {
  std::minstd_rand random(kStreams);
  for (std::uint64_t number = 1;; ++number) {
    const UniqueFd fd = connect_to_host(motion, kExchangesPort);
    if (!fd) continue;
    (exchange(fd.get(), number, motion) ? motion.exchanges : motion.broken_exchanges).fetch_add(1);
    rest(random);
  }
}

void keep_datagrams(Motion& motion, const char* host) {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kDatagramsPort);
  ::inet_pton(AF_INET, host, &address.sin_addr);
  for (std::uint64_t number = 1;;) {
    // What nobody takes yet, in a clone, comes back as an error of the next one.
    if (::sendto(fd.get(), &number, sizeof number, 0, reinterpret_cast<sockaddr*>(&address),
                 sizeof address) == sizeof number) {
      motion.datagrams = number++;
    }
    ::poll(nullptr, 0, 40);
  }
}

}  // namespace clonesafe::lab
