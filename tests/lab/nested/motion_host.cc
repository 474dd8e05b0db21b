#include "tests/lab/nested/motion_host.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <list>
#include <mutex>
#include <stop_token>
#include <thread>

#include "vmm_device/net/namespace.h"

namespace clonesafe::lab {
namespace {

Result<UniqueFd> listen_at(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(path + ": too long");
  std::memcpy(address.sun_path, path.data(), path.size());
  if (!fd || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), 64) != 0)
    return fail_errno(path);
  return fd;
}

// False when it is to stop.
bool await(int fd, short events, const std::stop_token& stop) {
  pollfd ready{.fd = fd, .events = events, .revents = 0};
  while (!stop.stop_requested())
    if (::poll(&ready, 1, 100) > 0) return true;
  return false;
}

// How much of it came until the end of the stream.
std::size_t receive(int fd, void* data, std::size_t size, const std::stop_token& stop) {
  char* const bytes = static_cast<char*>(data);
  std::size_t received = 0;
  while (received < size && await(fd, POLLIN, stop)) {
    const ssize_t more = ::recv(fd, bytes + received, size - received, MSG_DONTWAIT);
    if (more <= 0) break;
    received += static_cast<std::size_t>(more);
  }
  return received;
}

bool send_back(int fd, std::uint64_t number, const std::stop_token& stop) {
  return await(fd, POLLOUT, stop) &&
         ::send(fd, &number, sizeof number, MSG_NOSIGNAL) == sizeof number;
}

class Server final : public MotionHost {
 public:
  Server(UniqueFd streams, UniqueFd exchanges)
      : streams_listener_(std::move(streams)), exchanges_listener_(std::move(exchanges)) {
    streams_thread_ = std::jthread([this](const std::stop_token& stop) {
      while (await(streams_listener_.get(), POLLIN, stop)) {
        UniqueFd fd(::accept4(streams_listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd) continue;
        connections_.emplace_back([this, fd = std::move(fd)](const std::stop_token& ended) {
          take_records(fd.get(), ended);
        });
      }
      connections_.clear();
    });
    exchanges_thread_ = std::jthread([this](const std::stop_token& stop) {
      while (await(exchanges_listener_.get(), POLLIN, stop)) {
        const UniqueFd fd(::accept4(exchanges_listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (fd) answer_exchange(fd.get(), stop);
      }
    });
  }

  std::array<Stream, kStreams> streams() const override {
    const std::lock_guard lock(mutex_);
    return streams_;
  }
  std::vector<std::string> wrong() const override {
    const std::lock_guard lock(mutex_);
    return wrong_;
  }

 private:
  void take_records(int fd, const std::stop_token& stop) {
    Hello hello{};
    if (receive(fd, &hello, sizeof hello, stop) != sizeof hello) return;
    if (char nothing = 0; hello.stream == kIdle) {
      static_cast<void>(receive(fd, &nothing, sizeof nothing, stop));
      return;
    }
    if (hello.stream >= kStreams) return found("no such stream: " + std::to_string(hello.stream));
    const std::string name = "stream " + std::to_string(hello.stream);
    std::uint64_t last = hello.acknowledged;
    {
      const std::lock_guard lock(mutex_);
      Stream& stream = streams_[hello.stream];
      if (stream.connections++ == 0) stream.began_after = last;
    }
    std::vector<char> bytes(kMaxRecord);
    for (;;) {
      Record record{};
      if (receive(fd, &record, sizeof record, stop) != sizeof record) return;
      if (record.number != last + 1)
        return found(name + ": " + std::to_string(record.number) + " after " +
                     std::to_string(last));
      const auto expected = record_bytes(hello.stream, record.number);
      if (record.size != expected.size())
        return found(name + ": another size of " + std::to_string(record.number));
      bytes.resize(expected.size());
      if (receive(fd, bytes.data(), bytes.size(), stop) != bytes.size()) return;
      if (bytes != expected) return found(name + ": other bytes in " + std::to_string(last + 1));
      ++last;
      {
        const std::lock_guard lock(mutex_);
        streams_[hello.stream].received = last;
      }
      if (!send_back(fd, last, stop)) return;
    }
  }

  static void answer_exchange(int fd, const std::stop_token& stop) {
    std::uint64_t sum = kNoSum;
    std::vector<char> bytes(65536);
    for (;;) {
      // Up to the end that the guest gave it.
      const std::size_t size = receive(fd, bytes.data(), bytes.size(), stop);
      sum = sum_of(bytes.data(), size, sum);
      if (size != bytes.size()) break;
    }
    (void)send_back(fd, sum, stop);
  }

  void found(std::string what) {
    const std::lock_guard lock(mutex_);
    wrong_.push_back(std::move(what));
  }

  UniqueFd streams_listener_;
  UniqueFd exchanges_listener_;
  mutable std::mutex mutex_;
  std::array<Stream, kStreams> streams_{};
  std::vector<std::string> wrong_;
  std::list<std::jthread> connections_;  // streams_thread_'s
  std::jthread streams_thread_;          // these last, so that they end first
  std::jthread exchanges_thread_;
};

}  // namespace

Result<std::unique_ptr<MotionHost>> MotionHost::listen(const std::filesystem::path& vsock) {
  auto streams = listen_at(vsock.string() + "_" + std::to_string(kStreamsPort));
  if (!streams) return fail(streams.error());
  auto exchanges = listen_at(vsock.string() + "_" + std::to_string(kExchangesPort));
  if (!exchanges) return fail(exchanges.error());
  return std::make_unique<Server>(std::move(*streams), std::move(*exchanges));
}

Result<DatagramSink> DatagramSink::open(const std::string& network_namespace) {
  const auto inside = network::InNamespace::enter(network_namespace);
  if (!inside) return fail(inside.error());
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int size = 16 << 20;  // as much as comes while nobody looks
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kDatagramsPort);
  if (!fd || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("the datagrams' port");
  return DatagramSink(std::move(fd));
}

std::vector<std::uint64_t> DatagramSink::numbers() const {
  std::vector<std::uint64_t> all;
  std::uint64_t number = 0;
  while (::recv(socket_.get(), &number, sizeof number, 0) == sizeof number) all.push_back(number);
  return all;
}

}  // namespace clonesafe::lab
