#include "proxy/core/plain_stream.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <vector>

#include "proxy/core/farewell.h"

namespace clonesafe::proxy {
namespace {

constexpr auto kAwait = boost::asio::as_tuple(boost::asio::use_awaitable);

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

std::unexpected<Error> stale_error() {
  return fail("the connection is of a generation before this one");
}

}  // namespace

void set_tcp_options(int descriptor) {
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

// The event loop reads, into a buffer of the stream's own: so a message costs one system call,
// where to wait and then to read would cost three. What is larger than that buffer is read without
// it.
Awaitable<Result<std::size_t>> PlainStream::read(std::span<std::byte> to) {
  if (!socket_.is_open()) co_return fail("the connection is closed");
  if (stale()) co_return stale_error();
  const std::size_t room = std::min(to.size(), waiting_.size());
  const auto [error, count] =
      co_await socket_.async_receive(boost::asio::buffer(waiting_.data(), room), kAwait);
  if (held_back() && (!error || error == boost::asio::error::eof)) {
    if (!co_await pass_gate()) co_return fail("the connection is closed");
  }
  if (error == boost::asio::error::eof) co_return std::size_t{0};
  if (error) co_return fail("recv: " + error.message());
  if (stale()) co_return stale_error();
  std::memcpy(to.data(), waiting_.data(), count);
  if (watch_.traffic != nullptr) watch_.traffic->read_bytes += count;
  if (count < room || count == to.size()) co_return count;
  const auto rest = to.subspan(count);
  const ssize_t more = ::recv(fd(), rest.data(), rest.size(), MSG_DONTWAIT);
  if (watch_.traffic != nullptr && more > 0)
    watch_.traffic->read_bytes += static_cast<std::uint64_t>(more);
  // An end, or an error, comes with the next read.
  co_return count + static_cast<std::size_t>(std::max<ssize_t>(more, 0));
}

Awaitable<bool> PlainStream::pass_gate() {
  boost::asio::steady_timer timer(socket_.get_executor());
  at_gate_ = &timer;
  while (held_back() && socket_.is_open()) co_await watch_.gate->wait(timer);
  at_gate_ = nullptr;
  co_return socket_.is_open();
}

// As much as the socket takes now.
Result<std::size_t> PlainStream::send(std::span<const std::byte> from) {
  for (;;) {
    if (!socket_.is_open()) return fail("the connection is closed");
    // Last before the bytes leave: what they are is settled.
    if (stale()) return stale_error();
    const ssize_t count = ::send(fd(), from.data(), from.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) {
      if (watch_.traffic != nullptr)
        watch_.traffic->written_bytes += static_cast<std::uint64_t>(count);
      return static_cast<std::size_t>(count);
    }
    if (errno == EINTR) continue;
    if (would_block(errno)) return 0;
    return fail_errno("send");
  }
}

Awaitable<Status> PlainStream::write(std::span<const std::byte> from) {
  const auto sent = send(from);
  if (!sent) co_return fail(sent.error());
  if (*sent == from.size()) co_return Status();
  const auto rest = from.subspan(*sent);
  co_return co_await write_rest({rest.begin(), rest.end()});
}

Awaitable<Status> PlainStream::write_rest(std::vector<std::byte> rest) {
  for (std::span<const std::byte> left = rest; !left.empty();) {
    const auto [error] = co_await socket_.async_wait(Socket::wait_write, kAwait);
    if (error) co_return fail("send: " + error.message());
    const auto sent = send(left);
    if (!sent) co_return fail(sent.error());
    left = left.subspan(*sent);
  }
  co_return Status();
}

Awaitable<Status> PlainStream::finish() {
  if (!socket_.is_open()) co_return fail("the connection is closed");
  if (stale()) co_return stale_error();
  if (::shutdown(fd(), SHUT_WR) != 0) co_return fail_errno("shutdown");
  co_return Status();
}

bool PlainStream::quiet() {
  if (!socket_.is_open() || stale()) return false;
  std::byte byte{};
  return ::recv(fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && would_block(errno);
}

bool PlainStream::left() {
  if (!socket_.is_open()) return true;
  pollfd entry{.fd = fd(), .events = POLLRDHUP, .revents = 0};
  return ::poll(&entry, 1, 0) > 0;
}

// Out of the event loop, which would say goodbye as it closes.
int PlainStream::take_descriptor() {
  if (!socket_.is_open()) return -1;
  if (at_gate_ != nullptr) at_gate_->cancel();
  if (watch_.traffic != nullptr) --watch_.traffic->open;
  permit_ = nullptr;
  boost::system::error_code error;
  return socket_.release(error);
}

void PlainStream::abandon(int descriptor) {
  const Farewell how = tombstones() != nullptr ? tombstones()->bury(descriptor, watch_.opener)
                                               : abandon_socket(descriptor);
  if (watch_.traffic == nullptr) return;
  ++(how == Farewell::kSilent ? watch_.traffic->left_silently
                              : watch_.traffic->left_by_short_lived_reset);
}

void PlainStream::leave_stale() {
  if (stale()) close();
}

void PlainStream::close() {
  end_by([](int descriptor) { ::close(descriptor); });
}

void PlainStream::reset() {
  end_by(reset_socket);
}

void PlainStream::end_by(void (*how)(int descriptor)) {
  const bool silently = stale();
  const int descriptor = take_descriptor();
  if (descriptor < 0) return;
  if (silently) {
    abandon(descriptor);
  } else {
    how(descriptor);
  }
}

}  // namespace clonesafe::proxy
