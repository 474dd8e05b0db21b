#include "proxy/upstream/upstream.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/core/backoff.h"
#include "proxy/core/bytes.h"
#include "proxy/core/within.h"
#include "proxy/tls/tls_stream.h"
#include "proxy/upstream/source_port.h"

namespace clonesafe::proxy {
namespace {

namespace asio = boost::asio;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kFirstPause{50}, kLongestPause{2'000};
constexpr int kPortAttempts = 4;

// A socket that waits for its peer, which a clone must not answer.
class Connecting final : private Tombstones::Holder {
 public:
  Connecting(Tombstones& tombstones, Socket& socket, Guard guard)
      : Holder(guard.can_be_stale() ? &tombstones : nullptr), socket_(socket), guard_(guard) {}
  Connecting(const Connecting&) = delete;
  Connecting& operator=(const Connecting&) = delete;
  ~Connecting() { Connecting::leave_stale(); }

  void leave_stale() override {
    if (!guard_.stale() || !socket_.is_open()) return;
    boost::system::error_code error;
    // Out of the event loop, which would close it otherwise.
    tombstones()->bury(socket_.release(error), Opener::kThisEnd);
  }

 private:
  Socket& socket_;
  const Guard guard_;
};

}  // namespace

Awaitable<Result<std::vector<Endpoint>>> Upstream::resolve(const Address& address) {
  if (auto endpoint = numeric_endpoint(address)) co_return std::vector<Endpoint>{*endpoint};
  // Anew each time: what it was before the machine was cloned may be long gone.
  const auto [error, found] =
      co_await resolver_.async_resolve(address.host, std::to_string(address.port), kAwait);
  if (error) co_return fail(address.host + ": " + error.message());
  std::vector<Endpoint> endpoints;
  for (const auto& entry : found) endpoints.emplace_back(entry.endpoint());
  co_return endpoints;
}

// At a new generation those that were used until then are the parent's.
void Upstream::turn_ports() {
  const Fence::Epoch epoch = loop_.fence().now();
  if (epoch == ports_epoch_) return;
  ports_epoch_ = epoch;
  earlier_ports_.merge(ports_);
  ports_.clear();
}

// What has to be said to the kernel before the first packet.
Status Upstream::prepare(Socket& socket, const Endpoint& endpoint, bool own_port) const {
  const int fd = socket.native_handle();
  if (config_.mark != 0 &&
      ::setsockopt(fd, SOL_SOCKET, SO_MARK, &config_.mark, sizeof config_.mark) != 0)
    return fail_errno("SO_MARK");
  if (!own_port || bind_random_port(fd, endpoint, earlier_ports_)) return {};
  // Whoever knows this port has to know it before anything comes by it.
  return own_ports_ != nullptr ? bind_free_port(fd, endpoint) : Status();
}

Awaitable<Result<OwnPorts::Hold>> Upstream::open(Socket& socket, const Endpoint& endpoint,
                                                 Guard guard) {
  const bool is_unix = endpoint.protocol().family() == AF_UNIX;
  const bool local = is_local(endpoint);
  const Connecting connecting(loop_.tombstones(), socket, guard);
  for (int attempt = 0; attempt < kPortAttempts; ++attempt) {
    boost::system::error_code error;
    if (socket.is_open()) socket.close(error);
    socket.open(endpoint.protocol(), error);
    if (error) co_return fail("socket: " + error.message());
    turn_ports();
    const bool is_clone = ports_epoch_ > 1;
    const bool own_port = !is_unix && (own_ports_ != nullptr || (!local && is_clone));
    if (auto prepared = prepare(socket, endpoint, own_port); !prepared)
      co_return fail(prepared.error());
    OwnPorts::Hold hold;
    if (own_ports_ != nullptr) hold = own_ports_->hold(socket.local_endpoint(error));
    const auto [failed] = co_await socket.async_connect(endpoint, kAwait);
    if (guard.stale()) co_return fail("the machine was cloned");
    if (failed) co_return fail(failed.message());
    if (is_unix) co_return hold;
    const int on = 1;
    ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const Endpoint ours = socket.local_endpoint(error);
    if (local || error) co_return hold;
    // The kernel's choice: its server may hold a connection of the parent's by it still.
    if (is_clone && earlier_ports_.contains(port_of(ours))) continue;
    ports_.insert(port_of(ours));
    co_return hold;
  }
  co_return fail("no source port is free that the parent of this clone did not use");
}

Awaitable<Result<std::unique_ptr<Stream>>> Upstream::connect_to(const Address& address,
                                                                const Endpoint& endpoint,
                                                                std::string_view preface) {
  const Guard guard = is_local(endpoint) ? Guard() : Guard(loop_.fence());
  Socket socket(loop_.io());
  auto opened = co_await open(socket, endpoint, guard);
  if (!opened) co_return fail(opened.error());
  std::unique_ptr<Stream> stream =
      std::make_unique<PlainStream>(std::move(socket), guard,
                                    PlainStream::Watch{.traffic = &traffic_,
                                                       .gate = nullptr,
                                                       .tombstones = &loop_.tombstones(),
                                                       .keeps = std::move(*opened)});
  if (!preface.empty()) {
    if (auto sent = co_await stream->write(bytes_of(preface)); !sent) co_return fail(sent.error());
  }
  if (tls_ == nullptr) co_return stream;
  if (request_tls_ != nullptr) {
    if (auto granted = co_await request_tls_(*stream); !granted) co_return fail(granted.error());
  }
  auto session = tls_->session(address.host);
  if (!session) co_return fail(session.error());
  auto tls = TlsStream::make(std::move(stream), std::move(*session), loop_.timer());
  if (!tls) co_return fail(tls.error());
  if (auto shaken = co_await (*tls)->handshake(); !shaken) co_return fail(shaken.error());
  ++counts_.tls_handshakes;
  co_return std::move(*tls);
}

Awaitable<Result<std::unique_ptr<Stream>>> Upstream::attempt(std::span<const Address> addresses,
                                                             std::string_view preface, Peer* peer) {
  Error last("there is no address");
  for (const Address& address : addresses) {
    auto endpoints = co_await resolve(address);
    if (!endpoints) {
      last = endpoints.error();
      continue;
    }
    for (const Endpoint& endpoint : *endpoints) {
      const auto begin = std::chrono::steady_clock::now();
      auto stream =
          co_await within(loop_, config_.connect_timeout, connect_to(address, endpoint, preface));
      if (stream) {
        counts_.connects.add(std::chrono::duration_cast<std::chrono::microseconds>(
            std::chrono::steady_clock::now() - begin));
        if (peer != nullptr) *peer = {.address = address, .endpoint = endpoint};
        co_return stream;
      }
      ++counts_.failed_connects;
      last = std::move(stream).error().within(to_text(endpoint));
    }
  }
  co_return fail(std::move(last));
}

Awaitable<Result<std::unique_ptr<Stream>>> Upstream::connect_again(const Peer& peer,
                                                                   std::string_view preface) {
  co_return co_await within(loop_, config_.connect_timeout,
                            connect_to(peer.address, peer.endpoint, preface));
}

Awaitable<Result<std::unique_ptr<Stream>>> Upstream::connect(std::chrono::milliseconds hold,
                                                             std::string_view preface, Peer* peer,
                                                             const Address* destination) {
  const auto addresses = destination != nullptr ? std::span(destination, 1)
                                                : std::span<const Address>(config_.addresses);
  auto until = std::chrono::steady_clock::now() + hold;
  Backoff backoff(kFirstPause, kLongestPause);
  for (;;) {
    if (gate_.closed()) {
      asio::steady_timer timer = loop_.timer();
      co_await gate_.wait(timer);
      until = std::chrono::steady_clock::now() + hold;
      continue;
    }
    const Fence::Epoch epoch = loop_.fence().now();
    auto stream = co_await attempt(addresses, preface, peer);
    if (stream) co_return stream;
    // A clone's own first attempt is at once, whatever became of its parent's.
    if (loop_.fence().now() != epoch) {
      backoff = Backoff(kFirstPause, kLongestPause);
      continue;
    }
    const auto pause = backoff.next();
    if (std::chrono::steady_clock::now() + pause >= until) co_return stream;
    asio::steady_timer timer = loop_.timer();
    timer.expires_after(pause);
    co_await timer.async_wait(kAwait);
  }
}

}  // namespace clonesafe::proxy
