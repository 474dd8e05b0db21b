#ifndef CLONESAFE_TESTS_UNIT_VIRTIO_VSOCK_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_VIRTIO_VSOCK_FIXTURE_H_

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <random>
#include <set>

#include "libclonesafe/base/unique_fd.h"
#include "tests/unit/virtio/fake_vsock_guest.h"
#include "vmm_device/virtio/vsock_device.h"

namespace clonesafe::virtio {

inline constexpr std::uint64_t kCid = 3;
inline constexpr std::uint32_t kGuestPort = 5000;
inline constexpr std::uint32_t kCredit = 64 * 1024;

// A folder of its own for each test.
class Folder {
 public:
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "vsock-test-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}
inline UniqueFd connect_to(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const auto address = address_of(path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return UniqueFd();
  }
  return fd;
}
inline UniqueFd listen_on(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const auto address = address_of(path);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(fd.get(), 8), 0);
  return fd;
}
inline UniqueFd accept_from(const UniqueFd& listener) {
  return UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}
// Everything that can be read now.
inline std::string read_some(const UniqueFd& fd) {
  std::string text(256 * 1024, '\0');
  const ssize_t count = ::recv(fd.get(), text.data(), text.size(), MSG_DONTWAIT);
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return text;
}
inline bool at_end(const UniqueFd& fd) {
  char byte = 0;
  const ssize_t count = ::recv(fd.get(), &byte, 1, MSG_DONTWAIT);
  return count == 0 || (count < 0 && errno == ECONNRESET);
}
inline std::size_t write_some(const UniqueFd& fd, std::string_view text) {
  const ssize_t count = ::send(fd.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return count > 0 ? static_cast<std::size_t>(count) : 0;
}
inline std::string random_text(std::size_t size) {
  std::mt19937_64 generator(size);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(generator());
  return text;
}

// A machine with a vsock device and a guest.
struct Machine {
  explicit Machine(const std::string& path,
                   const FakeMemory& from = FakeMemory(FakeVsockGuest::kMemorySize),
                   std::uint64_t cid = kCid, std::size_t max_connections = 512,
                   std::chrono::milliseconds request_timeout = std::chrono::seconds(10),
                   std::set<std::uint32_t> held_ports = {})
      : bytes(from),
        memory(bytes.memory()),
        device(VsockDevice::create(io, {.guest_cid = cid,
                                        .socket_path = path,
                                        .max_connections = max_connections,
                                        .request_timeout = request_timeout,
                                        .held_ports = std::move(held_ports)})
                   .value()),
        transport(std::make_unique<MmioTransport>("vsock", memory, line, io, *device)),
        registers(*transport) {}

  void start() {
    guest.start(memory, registers);
    poll();
  }
  void poll() {
    io.restart();
    io.poll();
  }
  void send(VsockHeader header, std::string_view data = {}) {
    guest.send(memory, header, data);
    registers.notify(1);
    poll();
  }
  void send(VsockOperation operation, std::uint32_t guest_port, std::uint32_t host_port,
            std::string_view data = {}, std::uint32_t flags = 0) {
    send({.source_cid = kCid,
          .destination_cid = kVsockHostCid,
          .source_port = guest_port,
          .destination_port = host_port,
          .type = kVsockTypeStream,
          .operation = operation,
          .flags = flags,
          .buffer_size = kCredit},
         data);
  }
  std::vector<Packet> receive() {
    poll();
    auto packets = guest.receive(memory);
    registers.notify(0);
    poll();
    return packets;
  }
  // The next packet; waits for the kernel to tell the device of it.
  Packet next() {
    for (int i = 0; i < 1000 && inbox.empty(); ++i) {
      for (auto& packet : receive()) inbox.push_back(std::move(packet));
      if (inbox.empty()) {
        io.restart();
        io.run_one_for(std::chrono::milliseconds(10));
      }
    }
    if (inbox.empty()) {
      ADD_FAILURE() << "no packet";
      return {};
    }
    Packet packet = std::move(inbox.front());
    inbox.pop_front();
    return packet;
  }
  bool quiet() { return inbox.empty() && receive().empty(); }
  // Lets the device work until `done`; false if it never is.
  bool until(const std::function<bool()>& done) {
    for (int i = 0; i < 1000; ++i) {
      if (done()) return true;
      io.restart();
      io.run_one_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  FakeMemory bytes;
  GuestMemory memory;
  CountingLine line;
  boost::asio::io_context io;
  std::unique_ptr<VsockDevice> device;
  std::unique_ptr<MmioTransport> transport;
  FakeRegisters registers;
  FakeVsockGuest guest;
  std::deque<Packet> inbox;
};

// A clone of the guest of `source`, with a machine of its own.
inline std::unique_ptr<Machine> clone_of(Machine& source, const std::string& path,
                                         std::uint64_t cid = 0) {
  source.transport->pause();
  StateEncoder encoder;
  source.transport->save(encoder);
  auto clone = std::make_unique<Machine>(path, source.bytes, cid);
  clone->guest = source.guest;
  StateDecoder decoder("vsock", encoder.bytes());
  EXPECT_TRUE(clone->transport->restore(decoder));
  EXPECT_TRUE(decoder.finish());
  source.transport->resume();
  source.poll();
  return clone;
}

class VsockTest : public testing::Test {
 protected:
  // Connects a host program to the guest's port; the guest accepts.
  UniqueFd host_connects(std::uint32_t guest_port, std::uint32_t& host_port) {
    UniqueFd host = connect_to(path_);
    const std::string request = "CONNECT " + std::to_string(guest_port) + "\n";
    EXPECT_EQ(write_some(host, request), request.size());
    const Packet packet = machine_.next();
    EXPECT_EQ(packet.operation(), VsockOperation::kRequest);
    EXPECT_EQ(packet.header.destination_port, guest_port);
    host_port = packet.header.source_port;
    machine_.send(VsockOperation::kResponse, guest_port, host_port);
    std::string answer;
    EXPECT_TRUE(machine_.until([&] { return !(answer += read_some(host)).empty(); }));
    EXPECT_EQ(answer, "OK " + std::to_string(host_port) + "\n");
    return host;
  }
  // The guest connects to a port of the host, on which a host program listens.
  UniqueFd guest_connects(std::uint32_t guest_port, std::uint32_t host_port) {
    const UniqueFd listener = listen_on(path_ + "_" + std::to_string(host_port));
    machine_.send(VsockOperation::kRequest, guest_port, host_port);
    EXPECT_EQ(machine_.next().operation(), VsockOperation::kResponse);
    UniqueFd host = accept_from(listener);
    EXPECT_TRUE(host);
    return host;
  }

  Folder folder_;
  std::string path_ = folder_ / "v.sock";
  Machine machine_{path_};
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_TESTS_UNIT_VIRTIO_VSOCK_FIXTURE_H_
