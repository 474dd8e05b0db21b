#include "vmm_device/virtio/vsock_host_end.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>

namespace clonesafe::virtio {
namespace {

namespace asio = boost::asio;

// "CONNECT 4294967295\n" is 19 bytes.
constexpr std::size_t kMaxRequest = 32;
constexpr int kBacklog = 128;
// Out of descriptors: connections wait in the kernel until then.
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

Result<sockaddr_un> socket_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return fail("socket path " + path + " is longer than " +
                std::to_string(sizeof address.sun_path - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// The port of a request line without its newline.
std::optional<std::uint32_t> parse_request(std::string_view line) {
  constexpr std::string_view kVerb = "CONNECT ";
  if (!line.starts_with(kVerb)) return std::nullopt;
  line.remove_prefix(kVerb.size());
  if (line.ends_with('\r')) line.remove_suffix(1);
  std::uint32_t port = 0;
  const char* end = line.data() + line.size();
  const auto [rest, error] = std::from_chars(line.data(), end, port);
  if (error != std::errc() || rest != end) return std::nullopt;
  return port;
}

// A host program that connected and hasn't asked yet.
struct Waiting {
  explicit Waiting(asio::io_context& io, int fd) : stream(io, fd) {}
  asio::posix::stream_descriptor stream;
  std::string line;
};

}  // namespace

class VsockHostEnd::Listener : public std::enable_shared_from_this<Listener> {
 public:
  Listener(asio::io_context& io, int fd, std::size_t max_waiting, OnConnect on_connect)
      : io_(io),
        socket_(io, fd),
        pause_(io),
        max_waiting_(max_waiting),
        on_connect_(std::move(on_connect)) {}

  void wait() {
    socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [weak = weak_from_this()](const boost::system::error_code& error) {
                         const auto self = weak.lock();
                         if (self && !error) self->accept();
                       });
  }

 private:
  void accept() {
    while (true) {
      UniqueFd stream(
          ::accept4(socket_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!stream) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return wait();
        return wait_later();
      }
      // Over the limit: closing it is the answer.
      if (waiting_.size() >= max_waiting_) continue;
      auto entry = std::make_shared<Waiting>(io_, stream.release());
      waiting_.insert(entry);
      wait_request(entry);
    }
  }

  void wait_later() {
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
      const auto self = weak.lock();
      if (self && !error) self->accept();
    });
  }

  void wait_request(const std::shared_ptr<Waiting>& entry) {
    entry->stream.async_wait(
        asio::posix::stream_descriptor::wait_read,
        [weak = weak_from_this(), entry](const boost::system::error_code& error) {
          const auto self = weak.lock();
          if (self && !error) self->read_request(entry);
        });
  }

  // Takes the line and nothing after its newline, which belongs to the stream.
  void read_request(const std::shared_ptr<Waiting>& entry) {
    std::array<char, kMaxRequest> bytes{};
    const int fd = entry->stream.native_handle();
    const ssize_t seen = ::recv(fd, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
    if (seen < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
      return wait_request(entry);
    }
    if (seen <= 0) return forget(entry);
    const std::string_view text(bytes.data(), static_cast<std::size_t>(seen));
    const std::size_t newline = text.find('\n');
    const bool whole = newline != std::string_view::npos;
    const std::string_view line = text.substr(0, newline);
    const std::size_t taken = line.size() + (whole ? 1 : 0);
    std::array<char, kMaxRequest> discarded;
    if (::recv(fd, discarded.data(), taken, MSG_DONTWAIT) != static_cast<ssize_t>(taken) ||
        entry->line.size() + line.size() > kMaxRequest) {
      return forget(entry);
    }
    entry->line += line;
    if (!whole) return wait_request(entry);
    const auto port = parse_request(entry->line);
    UniqueFd stream;
    if (port) stream.reset(entry->stream.release());
    forget(entry);
    if (port) on_connect_(std::move(stream), *port);
  }

  // Closes what is still open: the host program reads the end of its stream.
  void forget(const std::shared_ptr<Waiting>& entry) { waiting_.erase(entry); }

  asio::io_context& io_;
  asio::posix::stream_descriptor socket_;
  asio::steady_timer pause_;
  const std::size_t max_waiting_;
  const OnConnect on_connect_;
  std::set<std::shared_ptr<Waiting>> waiting_;
};

VsockHostEnd::VsockHostEnd(std::string path, std::shared_ptr<Listener> listener)
    : path_(std::move(path)), listener_(std::move(listener)) {}

VsockHostEnd::~VsockHostEnd() {
  ::unlink(path_.c_str());
}

Result<std::unique_ptr<VsockHostEnd>> VsockHostEnd::open(asio::io_context& device_thread,
                                                         const std::string& path,
                                                         std::size_t max_waiting,
                                                         OnConnect on_connect) {
  auto address = socket_address(path);
  if (!address) return fail(std::move(address).error(), "vsock");
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("vsock: socket");
  if (::bind(fd.get(), generic(*address), sizeof *address) != 0) {
    const int error = errno;
    // Whole, for who didn't choose the current directory: it may be the root of a jail to come.
    std::error_code none;
    const auto whole = std::filesystem::absolute(path, none);
    return fail_errno("vsock: bind to " + (none ? path : whole.string()), error);
  }
  // Nobody can connect before listen(), so there is no moment with a wider mode.
  if (::chmod(path.c_str(), 0600) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    const int error = errno;
    ::unlink(path.c_str());
    return fail_errno("vsock: listen on " + path, error);
  }
  auto listener =
      std::make_shared<Listener>(device_thread, fd.release(), max_waiting, std::move(on_connect));
  listener->wait();
  return std::unique_ptr<VsockHostEnd>(new VsockHostEnd(path, std::move(listener)));
}

Result<UniqueFd> VsockHostEnd::connect(std::uint32_t port) const {
  const std::string path = path_ + "_" + std::to_string(port);
  auto address = socket_address(path);
  if (!address) return fail(std::move(address).error(), "vsock");
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("vsock: socket");
  // A Unix socket connects at once or not at all; a full backlog is a refusal too.
  if (::connect(fd.get(), generic(*address), sizeof *address) != 0) {
    return fail_errno("vsock: connect to " + path);
  }
  return fd;
}

}  // namespace clonesafe::virtio
