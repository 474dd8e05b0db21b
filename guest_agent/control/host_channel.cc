#include "guest_agent/control/host_channel.h"

#include <linux/vm_sockets.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstring>
#include <deque>

#include "clonesafe/abi/host_protocol.h"
#include "guest_agent/base/log.h"
#include "guest_agent/control/await.h"

namespace clonesafe::agent {
namespace {

namespace asio = boost::asio;
using Stream = asio::generic::stream_protocol;
using Clock = std::chrono::steady_clock;
using Wait = std::chrono::milliseconds;

constexpr Wait kShortestPause{1};
constexpr Wait kLongestPause{2000};
// A connection that lived this long may be made again at once, however often it breaks.
constexpr Wait kSteady{1000};
constexpr int kQuickRetries = 8;
constexpr std::size_t kMostQueued = 1U << 20;

// What is still to be written on one connection.
struct Output {
  std::deque<std::string> lines;
  std::size_t bytes = 0;
};

Stream::endpoint endpoint_of(const Config::Host& address) {
  if (!address.socket.empty()) {
    sockaddr_un un = {};
    un.sun_family = AF_UNIX;
    address.socket.copy(un.sun_path, sizeof(un.sun_path) - 1);
    return {&un, sizeof(un)};
  }
  sockaddr_vm vm = {};
  vm.svm_family = AF_VSOCK;
  vm.svm_cid = address.cid;
  vm.svm_port = address.port;
  return {&vm, sizeof(vm)};
}

// The host believes only a privileged port of the guest (docs/protocols/host.md). Without the right
// to one, or with another host's rules, any port will do.
void bind_privileged(Stream::socket& socket, unsigned attempt) {
  constexpr unsigned kFirstPort = 600;
  constexpr unsigned kPorts = 400;
  sockaddr_vm vm = {};
  vm.svm_family = AF_VSOCK;
  vm.svm_cid = VMADDR_CID_ANY;
  vm.svm_port = kFirstPort + attempt % kPorts;
  if (::bind(socket.native_handle(), reinterpret_cast<const sockaddr*>(&vm), sizeof(vm)) != 0) {
    log_warning(Error::from_errno("no privileged vsock port").message());
  }
}

}  // namespace

class HostChannel::Impl : public std::enable_shared_from_this<HostChannel::Impl> {
 public:
  Impl(asio::io_context& io, const Config::Host& address, std::string hello)
      : address_(address),
        hello_(std::move(hello)),
        socket_(io),
        pause_(io),
        endpoint_(endpoint_of(address)) {}

  void start(Handlers handlers) {
    handlers_ = std::move(handlers);
    asio::co_spawn(
        socket_.get_executor(),
        [self = shared_from_this()]() -> asio::awaitable<void> { co_await self->run(); },
        asio::detached);
  }

  void stop() {
    stopped_ = true;
    boost::system::error_code ignored;  // a destructor calls this
    (void)socket_.close(ignored);
    pause_.cancel(ignored);
  }

  void send(std::string line) {
    if (!connected_) return;
    if (output_->bytes + line.size() > kMostQueued) {
      log_warning("the host doesn't read; its connection is closed");
      connected_ = false;
      close();
      return;
    }
    output_->bytes += line.size();
    output_->lines.push_back(std::move(line));
    if (output_->lines.size() == 1) write_next(output_);
  }

  bool wakes() const { return connected_ && address_.socket.empty(); }

 private:
  void close() {
    boost::system::error_code ignored;
    (void)socket_.close(ignored);
  }

  asio::awaitable<void> run() {
    Wait pause = kShortestPause;
    int quick_retries = kQuickRetries;
    bool told = false;
    while (!stopped_) {
      const auto start = Clock::now();
      welcomed_ = false;
      const std::string reason = co_await session();
      if (stopped_) co_return;
      // A restore ends the connection: look before anything else is done about it.
      if (welcomed_) handlers_.lost();
      close();
      if (welcomed_) {
        log_info("host connection ended: " + reason);
        told = false;
        pause = kShortestPause;
        if (Clock::now() - start > kSteady) quick_retries = kQuickRetries;
        if (quick_retries-- > 0) continue;
      } else if (!told) {
        log_info("no host yet: " + reason);
        told = true;
      }
      pause_.expires_after(pause);
      co_await pause_.async_wait(kAwait);
      pause = std::min(pause * 2, kLongestPause);
    }
  }

  // One connection, from connect to its end. Returns why it ended.
  asio::awaitable<std::string> session() {
    boost::system::error_code error;
    close();
    if (socket_.open(Stream(endpoint_.protocol().family(), 0), error)) {
      co_return "socket: " + error.message();
    }
    // Another port each time: the host may still remember the last connection.
    if (address_.socket.empty()) bind_privileged(socket_, attempts_++);
    std::tie(error) = co_await socket_.async_connect(endpoint_, kAwait);
    if (error) co_return "connect: " + error.message();
    connected_ = true;
    output_ = std::make_shared<Output>();
    send(hello_);
    const std::string reason = co_await read_lines();
    connected_ = false;
    co_return reason;
  }

  asio::awaitable<std::string> read_lines() {
    std::string pending;
    std::array<char, 4096> block = {};
    for (;;) {
      const auto [error, size] = co_await socket_.async_read_some(asio::buffer(block), kAwait);
      if (error) co_return error.message();
      pending.append(block.data(), size);
      std::size_t end = 0;
      while ((end = pending.find('\n')) != std::string::npos) {
        if (end >= CLONESAFE_HOST_LINE_MAX) break;
        auto message = parse_host_message(std::string_view(pending).substr(0, end));
        if (!message) co_return message.error().message();
        pending.erase(0, end + 1);
        // Nothing counts before the welcome: it says which restore the host talks of.
        if (std::holds_alternative<Welcome>(*message)) welcomed_ = true;
        if (!welcomed_) co_return "the host's first line is not a welcome";
        handlers_.said(*message);
      }
      if (pending.size() >= CLONESAFE_HOST_LINE_MAX) co_return "a line from the host is too long";
    }
  }

  // Each connection has its own queue, so that a write that ends late can't touch the next one's.
  void write_next(std::shared_ptr<Output> output) {
    const auto buffer = asio::buffer(output->lines.front());
    asio::async_write(socket_, buffer,
                      [self = shared_from_this(), output = std::move(output)](
                          const boost::system::error_code& error, std::size_t) mutable {
                        // The reader sees the error too, and ends the session.
                        if (error) return;
                        output->bytes -= output->lines.front().size();
                        output->lines.pop_front();
                        if (!output->lines.empty()) self->write_next(std::move(output));
                      });
  }

  const Config::Host address_;
  const std::string hello_;
  Handlers handlers_;
  Stream::socket socket_;
  asio::steady_timer pause_;
  Stream::endpoint endpoint_;
  unsigned attempts_ = 0;
  bool stopped_ = false;
  bool connected_ = false;
  bool welcomed_ = false;
  std::shared_ptr<Output> output_;
};

HostChannel::HostChannel(asio::io_context& io, const Config::Host& address, std::string hello)
    : impl_(std::make_shared<Impl>(io, address, std::move(hello))) {}
HostChannel::~HostChannel() {
  impl_->stop();
}
void HostChannel::start(Handlers handlers) {
  impl_->start(std::move(handlers));
}
void HostChannel::send(std::string line) {
  impl_->send(std::move(line));
}
bool HostChannel::wakes() const {
  return impl_->wakes();
}

}  // namespace clonesafe::agent
