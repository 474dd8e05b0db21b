// Any bytes from a host program on the vsock device's Unix socket: "CONNECT <port>\n" opens a
// stream from which nothing but that line was read; anything else is hung up on.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/virtio/vsock_host_end.h"

using namespace clonesafe;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

struct Host {
  boost::asio::io_context io{1};
  std::string path = "/tmp/vsock_connect_fuzz." + std::to_string(::getpid());
  UniqueFd stream;
  std::uint32_t port = 0;
  std::unique_ptr<virtio::VsockHostEnd> end;

  Host() {
    ::unlink(path.c_str());
    auto opened = virtio::VsockHostEnd::open(io, path, 4,
                                             [this](UniqueFd connected, std::uint32_t guest_port) {
                                               stream = std::move(connected);
                                               port = guest_port;
                                             });
    require(opened.has_value());
    end = std::move(*opened);
  }
  void turn() {
    io.restart();
    io.poll();
  }
};

std::string received(int fd) {
  std::string bytes(65536, '\0');
  const ssize_t size = ::recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
  bytes.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Host host;
  if (size == 0 || size > 4096) return 0;
  const std::size_t piece = std::size_t{data[0]} + 1;
  const std::string_view input(reinterpret_cast<const char*>(data + 1), size - 1);
  UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, host.path.data(), host.path.size());
  require(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  host.stream.reset();
  std::string_view sent;
  while (sent.size() < input.size()) {
    const auto part = input.substr(sent.size(), piece);
    const ssize_t count = ::send(client.get(), part.data(), part.size(), MSG_NOSIGNAL);
    // Hung up on; or the socket is full, which a few hundred small pieces are enough for.
    if (count < 0) break;
    sent = input.substr(0, sent.size() + static_cast<std::size_t>(count));
    host.turn();
  }
  if (host.stream) {
    const std::size_t newline = sent.find('\n');
    require(newline != std::string_view::npos && newline <= 32);
    require(sent.starts_with("CONNECT "));
    require(std::strtoull(std::string(sent.substr(8)).c_str(), nullptr, 10) == host.port);
    // The stream holds what came after the line, all of it.
    require(received(host.stream.get()) == sent.substr(newline + 1));
    host.stream.reset();
  }
  client.reset();
  host.turn();
  return 0;
}
