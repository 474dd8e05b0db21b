#include "guest_agent/control/control_server.h"

#include <grp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstring>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "guest_agent/base/log.h"
#include "guest_agent/control/await.h"
#include "guest_agent/control/listen.h"

namespace clonesafe::agent {
namespace {

namespace asio = boost::asio;
using Local = asio::local::stream_protocol;
using boost::system::error_code;

constexpr ClientLimits kLimits = {.all = 128, .of_user = 32, .root_beyond_all = true};
constexpr std::size_t kLongestRequest = 4096;
constexpr std::size_t kMostUnread = 64;
constexpr std::chrono::seconds kPatience{30};
constexpr std::chrono::hours kEndlessPatience{24 * 365 * 100};

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

namespace {

// One connection: what goes out goes out in order, answers and events alike.
class Connection final : public ControlClient, public std::enable_shared_from_this<Connection> {
 public:
  Connection(Local::socket client, const ucred& peer, bool drives)
      : socket_(std::move(client)), sent_(socket_.get_executor()), peer_(peer), drives_(drives) {
    sent_.expires_at(asio::steady_timer::time_point::max());
  }

  uid_t user() const override { return peer_.uid; }
  pid_t pid() const override { return peer_.pid; }
  bool may_drive() const override { return drives_; }
  void keep(std::function<void()> ended) override { ended_ = std::move(ended); }
  void push(std::string line) override {
    if (queue_.size() < kMostUnread) return enqueue({.line = std::move(line)});
    asio::post(socket_.get_executor(), [self = shared_from_this()] { self->close(); });
  }

  bool kept() const { return ended_ != nullptr; }
  Local::socket& socket() { return socket_; }
  void close() {
    error_code ignored;
    (void)socket_.close(ignored);
    sent_.cancel();
  }
  void ended() {
    close();
    if (const auto tell = std::exchange(ended_, nullptr)) tell();
  }
  // Sent when everything before it is. False: the client is past helping.
  asio::awaitable<bool> send(ControlServer::Answer answer) {
    enqueue(std::move(answer));
    while (writing_ && socket_.is_open()) co_await sent_.async_wait(kAwait);
    co_return socket_.is_open();
  }

 private:
  void enqueue(ControlServer::Answer answer) {
    queue_.push_back(std::move(answer));
    if (std::exchange(writing_, true)) return;
    asio::co_spawn(
        socket_.get_executor(),
        [self = shared_from_this()]() -> asio::awaitable<void> {
          while (!self->queue_.empty() && self->socket_.is_open()) {
            const ControlServer::Answer next = std::move(self->queue_.front());
            if (!co_await self->write(next)) self->close();
            self->queue_.pop_front();
          }
          self->writing_ = false;
          self->sent_.cancel();
        },
        asio::detached);
  }

  // The line in one piece, the file with its first byte.
  asio::awaitable<bool> write(const ControlServer::Answer& answer) {
    const std::string line = answer.line + "\n";
    if (!answer.file) {
      const auto [error, written] = co_await asio::async_write(socket_, asio::buffer(line), kAwait);
      co_return !error;
    }
    const auto [error] = co_await socket_.async_wait(Local::socket::wait_write, kAwait);
    co_return !error && send_with_file(socket_.native_handle(), line, answer.file.get());
  }

  Local::socket socket_;
  asio::steady_timer sent_;  // cancelled when everything is
  const ucred peer_;
  const bool drives_;
  std::deque<ControlServer::Answer> queue_;  // the first is being written
  bool writing_ = false;
  std::function<void()> ended_;
};

// Whether the process at the other end is in the group, by its first or another one.
bool is_member(int socket, gid_t group, const ucred& peer) {
  if (peer.gid == group) return true;
  std::vector<gid_t> groups(65536);
  auto size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) != 0) return false;
  groups.resize(size / sizeof(gid_t));
  return std::ranges::find(groups, group) != groups.end();
}

std::optional<gid_t> find_group(const std::string& name) {
  if (name.empty()) return std::nullopt;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the process has one thread
  const group* const entry = ::getgrnam(name.c_str());
  return entry == nullptr ? std::nullopt : std::optional(entry->gr_gid);
}

}  // namespace

class ControlServer::Impl : public std::enable_shared_from_this<ControlServer::Impl> {
 public:
  Impl(asio::io_context& io, std::optional<gid_t> group, Handler handler)
      : acceptor_(io), group_(group), handler_(std::move(handler)) {}

  Status listen(const std::string& path) { return listen_for_all(acceptor_, path); }

  void start() {
    asio::co_spawn(acceptor_.get_executor(),
                   accept_clients(acceptor_, kLimits,
                                  [self = shared_from_this()](Local::socket socket, ucred peer) {
                                    return self->serve_peer(std::move(socket), peer);
                                  }),
                   asio::detached);
  }

  void stop() {
    error_code ignored;
    (void)acceptor_.close(ignored);
  }

 private:
  asio::awaitable<void> serve_peer(Local::socket socket, ucred peer) {
    const bool drives = peer.uid == 0 || peer.uid == ::geteuid() ||
                        (group_ && is_member(socket.native_handle(), *group_, peer));
    const auto client = std::make_shared<Connection>(std::move(socket), peer, drives);
    co_await serve(client);
    client->ended();
  }

  struct Pending {
    explicit Pending(const asio::any_io_executor& executor)
        : ready(executor, asio::steady_timer::time_point::max()) {}
    std::optional<Answer> answer;
    asio::steady_timer ready;  // cancelled once it is
  };

  asio::awaitable<Answer> answer(std::string_view request, const Client& client) {
    const auto pending = std::make_shared<Pending>(acceptor_.get_executor());
    handler_(request, client, [pending](Answer given) {
      pending->answer = std::move(given);
      pending->ready.cancel();
    });
    std::optional<Answer>& given = pending->answer;
    while (!given.has_value()) co_await pending->ready.async_wait(kAwait);
    co_return std::move(given).value();
  }

  asio::awaitable<void> serve(std::shared_ptr<Connection> client) {
    asio::steady_timer patience(acceptor_.get_executor());
    const auto be_patient = [&] {
      patience.expires_after(client->kept() ? kEndlessPatience : kPatience);
      patience.async_wait([client](const error_code& error) {
        if (!error) client->close();
      });
    };
    std::string pending;
    std::array<char, 1024> block = {};
    for (;;) {
      be_patient();
      const auto [error, size] =
          co_await client->socket().async_read_some(asio::buffer(block), kAwait);
      if (error) co_return;
      pending.append(block.data(), size);
      std::size_t end = 0;
      while ((end = pending.find('\n')) != std::string::npos) {
        patience.cancel();  // what takes long now is the agent
        Answer given = co_await answer(pending.substr(0, end), client);
        pending.erase(0, end + 1);
        be_patient();
        if (!co_await client->send(std::move(given))) co_return;
      }
      if (pending.size() > kLongestRequest) co_return;
    }
  }

  Local::acceptor acceptor_;
  const std::optional<gid_t> group_;
  const Handler handler_;
};

Result<std::unique_ptr<ControlServer>> ControlServer::open(asio::io_context& io,
                                                           const std::string& path,
                                                           const std::string& group,
                                                           Handler handler) {
  auto impl = std::make_shared<Impl>(io, find_group(group), std::move(handler));
  if (auto listening = impl->listen(path); !listening) return fail(std::move(listening.error()));
  impl->start();
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(impl)));
}

ControlServer::~ControlServer() {
  impl_->stop();
}

}  // namespace clonesafe::agent
