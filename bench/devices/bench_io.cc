// What devices_bench sends through a guest's network and vsock: one end runs in the guest, the
// other on the host.
//
//   bench_io serve ADDRESS             says "ready", then serves one client after the other
//   bench_io pingpong ADDRESS SECONDS  a byte there and back: times a second
//   bench_io send ADDRESS SECONDS      bytes a second, until the other end has read all of them
//   bench_io receive ADDRESS SECONDS   bytes a second
//
// ADDRESS is tcp:IP:PORT, unix:PATH or vsock:CID:PORT (CID 4294967295: any).
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "libclonesafe/base/unique_fd.h"

namespace {

using clonesafe::UniqueFd;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kBlock = std::size_t{64} << 10;

// The first byte of a connection.
enum Wish : char { kEcho = 'e', kSink = 's', kSource = 'g' };

struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
};

template <typename Kind>
Address address_of(const Kind& kind) {
  Address address;
  std::memcpy(&address.bytes, &kind, sizeof kind);
  address.size = sizeof kind;
  return address;
}

unsigned number(const std::string& text) {
  return static_cast<unsigned>(std::strtoul(text.c_str(), nullptr, 10));
}

// Size 0 if it is none.
Address parse(const std::string& text) {
  const auto first = text.find(':');
  const auto last = text.rfind(':');
  const std::string kind = text.substr(0, first);
  if (kind == "unix" && first != std::string::npos) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    if (text.size() - first > sizeof address.sun_path) return {};
    text.copy(address.sun_path, sizeof address.sun_path - 1, first + 1);
    return address_of(address);
  }
  if (first == last) return {};
  const std::string host = text.substr(first + 1, last - first - 1);
  const unsigned port = number(text.substr(last + 1));
  if (kind == "tcp") {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) return {};
    return address_of(address);
  }
  if (kind == "vsock") {
    sockaddr_vm address{};
    address.svm_family = AF_VSOCK;
    address.svm_cid = number(host);
    address.svm_port = port;
    return address_of(address);
  }
  return {};
}

UniqueFd make_socket(const Address& address) {
  UniqueFd fd(socket(address.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (address.bytes.ss_family == AF_INET) {
    (void)setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  }
  return fd;
}

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t count = send(fd, data, size, MSG_NOSIGNAL);
    if (count <= 0) return false;
    data += count;
    size -= static_cast<std::size_t>(count);
  }
  return true;
}

// --- The host's end. ---

void serve_client(int fd, std::vector<char>& block) {
  char wish = 0;
  if (recv(fd, &wish, 1, 0) != 1) return;
  if (wish == kSource) {
    while (write_all(fd, block.data(), block.size())) {
    }
    return;
  }
  for (ssize_t count = 0; (count = recv(fd, block.data(), block.size(), 0)) > 0;) {
    if (wish == kEcho && !write_all(fd, block.data(), static_cast<std::size_t>(count))) return;
  }
  if (wish == kSink) (void)write_all(fd, "k", 1);
}

int serve(const Address& address) {
  const UniqueFd listener = make_socket(address);
  if (!listener || bind(listener.get(), address.get(), address.size) != 0 ||
      listen(listener.get(), 16) != 0) {
    perror("bench_io: serve");
    return 1;
  }
  std::printf("ready\n");
  std::fflush(stdout);
  std::vector<char> block(kBlock, 'x');
  const int on = 1;
  for (;;) {
    const UniqueFd client(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) continue;
    if (address.bytes.ss_family == AF_INET)
      (void)setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    serve_client(client.get(), block);
  }
}

// --- The guest's. ---

// What was done, or a negative number.
double ping_pong(int fd, Clock::time_point end) {
  double count = 0;
  for (char byte = 0; Clock::now() < end; ++count) {
    if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1) return -1;
  }
  return count;
}

double send_until(int fd, Clock::time_point end) {
  const std::vector<char> block(kBlock, 'x');
  double sent = 0;
  for (; Clock::now() < end; sent += static_cast<double>(block.size())) {
    if (!write_all(fd, block.data(), block.size())) return -1;
  }
  char done = 0;
  return shutdown(fd, SHUT_WR) == 0 && recv(fd, &done, 1, 0) == 1 ? sent : -1;
}

double receive_until(int fd, Clock::time_point end) {
  std::vector<char> block(kBlock);
  double received = 0;
  while (Clock::now() < end) {
    const ssize_t count = recv(fd, block.data(), block.size(), 0);
    if (count <= 0) return -1;
    received += static_cast<double>(count);
  }
  return received;
}

int measure(Wish wish, const Address& address, double seconds) {
  const UniqueFd fd = make_socket(address);
  if (!fd || connect(fd.get(), address.get(), address.size) != 0) {
    perror("bench_io: connect");
    return 1;
  }
  const auto start = Clock::now();
  const auto end =
      start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  double done = -1;
  if (write_all(fd.get(), reinterpret_cast<const char*>(&wish), 1)) {
    done = wish == kEcho   ? ping_pong(fd.get(), end)
           : wish == kSink ? send_until(fd.get(), end)
                           : receive_until(fd.get(), end);
  }
  if (done < 0) {
    perror("bench_io: the connection broke");
    return 1;
  }
  std::printf("%.1f\n", done / std::chrono::duration<double>(Clock::now() - start).count());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  const Address address = argc > 2 ? parse(argv[2]) : Address{};
  const double seconds = argc > 3 ? std::strtod(argv[3], nullptr) : 0;
  if (address.size != 0) {
    if (verb == "serve" && argc == 3) return serve(address);
    if (verb == "pingpong" && seconds > 0) return measure(kEcho, address, seconds);
    if (verb == "send" && seconds > 0) return measure(kSink, address, seconds);
    if (verb == "receive" && seconds > 0) return measure(kSource, address, seconds);
  }
  std::fprintf(stderr,
               "usage: bench_io serve ADDRESS | pingpong ADDRESS SECONDS | send ADDRESS SECONDS | "
               "receive ADDRESS SECONDS\n");
  return 2;
}
