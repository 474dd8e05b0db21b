#include "guest_agent/control/control_server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>

#include "guest_agent/base/log.h"
#include "guest_agent/control/await.h"

namespace clonesafe::agent {
namespace {

namespace asio = boost::asio;
using Local = asio::local::stream_protocol;
using boost::system::error_code;

constexpr std::size_t kMostClients = 128;
constexpr std::size_t kMostClientsOfUser = 32;
constexpr std::size_t kLongestRequest = 4096;
constexpr std::chrono::seconds kPatience{30};

bool send_with_file(int socket, const std::string& line, int file) {
  iovec text = {.iov_base = const_cast<char*>(line.data()), .iov_len = line.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof file)> control = {};
  msghdr message = {};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof file);
  std::memcpy(CMSG_DATA(header), &file, sizeof file);
  return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(line.size());
}

}  // namespace

class ControlServer::Impl : public std::enable_shared_from_this<ControlServer::Impl> {
 public:
  Impl(asio::io_context& io, Handler handler) : acceptor_(io), handler_(std::move(handler)) {}

  Status listen(const std::string& path) {
    error_code error;
    struct stat status = {};
    if (::lstat(path.c_str(), &status) == 0) {
      // Only a socket is an earlier agent's; anything else was put there by somebody else.
      if (!S_ISSOCK(status.st_mode)) return fail(path + " is there and is not a socket");
      if (::unlink(path.c_str()) != 0) return fail_errno("unlink of " + path);
    }
    if (path.size() >= sizeof(sockaddr_un::sun_path)) return fail(path + " is too long a name");
    const Local::endpoint endpoint(path);
    if (acceptor_.open(endpoint.protocol(), error) || acceptor_.bind(endpoint, error) ||
        acceptor_.listen(asio::socket_base::max_listen_connections, error)) {
      return fail("control socket " + path + ": " + error.message());
    }
    if (::chmod(path.c_str(), 0666) != 0) return fail_errno("chmod of " + path);
    return {};
  }

  void start() {
    asio::co_spawn(
        acceptor_.get_executor(),
        [self = shared_from_this()]() -> asio::awaitable<void> { co_await self->accept(); },
        asio::detached);
  }

  void stop() {
    error_code ignored;
    (void)acceptor_.close(ignored);
  }

 private:
  asio::awaitable<void> accept() {
    while (acceptor_.is_open()) {
      auto [error, socket] = co_await acceptor_.async_accept(kAwait);
      if (error) {
        if (!acceptor_.is_open()) co_return;
        // Out of descriptors, most likely: let some go before the next try.
        asio::steady_timer pause(acceptor_.get_executor(), std::chrono::milliseconds(100));
        co_await pause.async_wait(kAwait);
        continue;
      }
      ucred peer = {};
      socklen_t size = sizeof(peer);
      if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        continue;
      const std::size_t of_user = clients_of_[peer.uid];
      if (peer.uid != 0 && (of_user >= kMostClientsOfUser || clients_ >= kMostClients)) continue;
      ++clients_;
      ++clients_of_[peer.uid];
      asio::co_spawn(
          acceptor_.get_executor(),
          [self = shared_from_this(), uid = peer.uid,
           client = std::move(socket)]() mutable -> asio::awaitable<void> {
            co_await self->serve(std::move(client), uid);
            --self->clients_;
            if (--self->clients_of_[uid] == 0) self->clients_of_.erase(uid);
          },
          asio::detached);
    }
  }

  struct Pending {
    explicit Pending(const asio::any_io_executor& executor)
        : ready(executor, asio::steady_timer::time_point::max()) {}
    std::optional<Answer> answer;
    asio::steady_timer ready;  // cancelled once it is
  };

  asio::awaitable<Answer> answer(std::string_view request, uid_t user) {
    const auto pending = std::make_shared<Pending>(acceptor_.get_executor());
    handler_(request, user, [pending](Answer given) {
      pending->answer = std::move(given);
      pending->ready.cancel();
    });
    std::optional<Answer>& given = pending->answer;
    while (!given.has_value()) co_await pending->ready.async_wait(kAwait);
    co_return std::move(given).value();
  }

  // The line in one piece, the file with its first byte. False: the client is past helping.
  static asio::awaitable<bool> send(Local::socket& client, const Answer& answer) {
    const std::string line = answer.line + "\n";
    if (!answer.file) {
      const auto [error, written] = co_await asio::async_write(client, asio::buffer(line), kAwait);
      co_return !error;
    }
    const auto [error] = co_await client.async_wait(Local::socket::wait_write, kAwait);
    co_return !error && send_with_file(client.native_handle(), line, answer.file.get());
  }

  asio::awaitable<void> serve(Local::socket socket, uid_t user) {
    // The socket lives in a shared place, so that the timer may close it at any moment.
    const auto client = std::make_shared<Local::socket>(std::move(socket));
    asio::steady_timer patience(client->get_executor());
    const auto be_patient = [&] {
      patience.expires_after(kPatience);
      patience.async_wait([client](const error_code& error) {
        error_code ignored;
        if (!error) (void)client->close(ignored);
      });
    };
    std::string pending;
    std::array<char, 1024> block = {};
    for (;;) {
      be_patient();
      const auto [error, size] = co_await client->async_read_some(asio::buffer(block), kAwait);
      if (error) co_return;
      pending.append(block.data(), size);
      std::size_t end = 0;
      while ((end = pending.find('\n')) != std::string::npos) {
        const Answer given = co_await answer(pending.substr(0, end), user);
        pending.erase(0, end + 1);
        be_patient();
        if (!co_await send(*client, given)) co_return;
      }
      if (pending.size() > kLongestRequest) co_return;
    }
  }

  Local::acceptor acceptor_;
  const Handler handler_;
  std::size_t clients_ = 0;
  std::map<uid_t, std::size_t> clients_of_;
};

Result<std::unique_ptr<ControlServer>> ControlServer::open(asio::io_context& io,
                                                           const std::string& path,
                                                           Handler handler) {
  auto impl = std::make_shared<Impl>(io, std::move(handler));
  if (auto listening = impl->listen(path); !listening) return fail(std::move(listening.error()));
  impl->start();
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(impl)));
}

ControlServer::~ControlServer() {
  impl_->stop();
}

}  // namespace clonesafe::agent
