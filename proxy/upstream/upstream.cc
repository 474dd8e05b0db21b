#include "proxy/upstream/upstream.h"

#include <sys/socket.h>

#include <algorithm>
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

Upstream::Upstream(Loop& loop, const UpstreamConfig& config, const TlsContext* tls,
                   RequestTls request_tls, std::shared_ptr<OwnPorts> own_ports)
    : loop_(loop),
      config_(config),
      tls_(tls),
      request_tls_(request_tls),
      own_ports_(std::move(own_ports)),
      resolver_(loop.io()),
      tickets_(std::make_shared<Tickets>(loop.fence(),
                                         tls != nullptr ? tls->ticket_use() : TicketUse::kOff)),
      down_(config.addresses.size(), false),
      limit_(config.max_connections),
      breaker_(config.breaker),
      rate_(config.connect_rate,
            config.connect_burst != 0 ? config.connect_burst : config.connect_rate) {}

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

void Upstream::turn_generation() {
  const Fence::Epoch epoch = loop_.fence().now();
  if (epoch == epoch_) return;
  epoch_ = epoch;
  // Those that were used until now are the parent's.
  earlier_ports_.merge(ports_);
  ports_.clear();
  breaker_.forget();
  retries_.forget();
  rate_.refill();
  down_.assign(down_.size(), false);
  limit_.turn(epoch);
  // A clone's own first attempt is at once, whatever became of its parent's.
  retry_line_.call_all();
  rate_line_.call();
}

Awaitable<bool> Upstream::wait_for_spread(asio::steady_timer& timer) const {
  const Fence::Epoch epoch = loop_.fence().now();
  timer.expires_after(random_pause(config_.spread));
  const auto [error] = co_await timer.async_wait(kAwait);
  // A clone draws a time of its own.
  co_return !error && loop_.fence().now() == epoch;
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

// Also of one that has acknowledged a request and then was gone: it is asked whether it is there.
void Upstream::limit_silence(Socket& socket) const {
  const auto limit = static_cast<int>(config_.unacknowledged.count());
  if (limit == 0) return;
  constexpr int kSecond = 1000;
  const int idle = std::max(1, limit / kSecond);
  const int again = std::max(1, idle / 4);
  const auto set = [&](int option, int value) {
    ::setsockopt(socket.native_handle(), IPPROTO_TCP, option, &value, sizeof value);
  };
  set(TCP_USER_TIMEOUT, limit);
  set(TCP_KEEPIDLE, idle);
  set(TCP_KEEPINTVL, again);
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
    turn_generation();
    const bool is_clone = epoch_ > 1;
    const bool own_port = !is_unix && (own_ports_ != nullptr || (!local && is_clone));
    if (auto prepared = prepare(socket, endpoint, own_port); !prepared)
      co_return fail(prepared.error());
    OwnPorts::Hold hold;
    if (own_ports_ != nullptr) hold = own_ports_->hold(socket.local_endpoint(error));
    const auto [failed] = co_await socket.async_connect(endpoint, kAwait);
    if (guard.stale()) co_return fail("the machine was cloned");
    if (failed) co_return fail(failed.message());
    if (is_unix) co_return hold;
    set_tcp_options(socket.native_handle());
    limit_silence(socket);
    const Endpoint ours = socket.local_endpoint(error);
    if (local || error) co_return hold;
    // The kernel's choice: its server may hold a connection of the parent's by it still.
    if (is_clone && earlier_ports_.contains(port_of(ours))) continue;
    ports_.insert(port_of(ours));
    co_return hold;
  }
  co_return fail("no source port is free that the parent of this clone did not use");
}

Awaitable<Result<std::unique_ptr<Stream>>> Upstream::connect_to(
    const Address& address, const Endpoint& endpoint, std::string_view preface,
    const ConnectionLimit::PermitPointer& permit, const TlsContext* tls_context) {
  const Guard guard = is_local(endpoint) ? Guard() : Guard(loop_.fence());
  if (permit && is_local(endpoint)) permit->stays_here();
  Socket socket(loop_.io());
  auto opened = co_await open(socket, endpoint, guard);
  if (!opened) co_return fail(opened.error());
  PlainStream::Watch watch{.traffic = &traffic_,
                           .gate = nullptr,
                           .tombstones = &loop_.tombstones(),
                           .keeps = std::move(*opened)};
  std::unique_ptr<Stream> stream =
      std::make_unique<PlainStream>(std::move(socket), guard, std::move(watch), permit);
  if (!preface.empty()) {
    if (auto sent = co_await stream->write(bytes_of(preface)); !sent) co_return fail(sent.error());
  }
  if (tls_context == nullptr) co_return stream;
  if (request_tls_ != nullptr) {
    if (auto granted = co_await request_tls_(*stream); !granted) co_return fail(granted.error());
  }
  auto session = tls_context->session(address.host, tickets_);
  if (!session) co_return fail(session.error());
  auto tls = TlsStream::make(std::move(stream), std::move(*session), loop_.timer());
  if (!tls) co_return fail(tls.error());
  if (auto shaken = co_await (*tls)->handshake(); !shaken) co_return fail(shaken.error());
  ++counts_.tls_handshakes;
  if (SSL_session_reused((*tls)->session()) == 1) ++counts_.tls_resumed;
  co_return std::move(*tls);
}

Awaitable<Result<std::unique_ptr<Stream>>> Upstream::attempt_at(
    const Address& address, const Wish& wish, const ConnectionLimit::PermitPointer& permit) {
  auto endpoints = co_await resolve(address);
  if (!endpoints) co_return fail(endpoints.error());
  Error last(address.host + ": no address");
  for (const Endpoint& endpoint : *endpoints) {
    const auto begin = Clock::now();
    auto stream = co_await within(loop_, config_.connect_timeout,
                                  connect_to(address, endpoint, wish.preface, permit, tls_));
    if (stream) {
      counts_.connects.add(
          std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin));
      if (wish.peer != nullptr) *wish.peer = {.address = address, .endpoint = endpoint};
      co_return stream;
    }
    ++counts_.failed_connects;
    last = std::move(stream).error().within(to_text(endpoint));
  }
  co_return fail(std::move(last));
}

// Whoever waits for it has to know what became of it, also where there is no memory for it.
Awaitable<Result<std::unique_ptr<Stream>>> Upstream::attempt(
    const Wish& wish, const ConnectionLimit::PermitPointer& permit) {
  try {
    co_return co_await attempt_each(wish, permit);
  } catch (const std::exception& error) {
    co_return fail(error.what());
  }
}

Awaitable<Result<std::unique_ptr<Stream>>> Upstream::attempt_each(
    const Wish& wish, const ConnectionLimit::PermitPointer& permit) {
  if (wish.destination != nullptr) co_return co_await attempt_at(*wish.destination, wish, permit);
  Error last("there is no address");
  for (const std::size_t index : order()) {
    auto stream = co_await attempt_at(config_.addresses[index], wish, permit);
    if (stream) co_return stream;
    last = std::move(stream).error();
  }
  co_return fail(std::move(last));
}

Awaitable<Result<std::unique_ptr<Stream>>> Upstream::connect_again(const Peer& peer,
                                                                   std::string_view preface) {
  const ConnectionLimit::PermitPointer none;
  co_return co_await within(loop_, config_.connect_timeout,
                            connect_to(peer.address, peer.endpoint, preface, none, tls_));
}

Awaitable<Result<std::unique_ptr<Stream>>> Upstream::connect_for_check(const Address& address,
                                                                       std::string_view preface,
                                                                       bool with_tls) {
  const ConnectionLimit::PermitPointer none;
  auto endpoints = co_await resolve(address);
  if (!endpoints) co_return fail(endpoints.error());
  Error last(address.host + ": no address");
  for (const Endpoint& endpoint : *endpoints) {
    auto stream = co_await connect_to(address, endpoint, preface, none, with_tls ? tls_ : nullptr);
    if (stream) co_return stream;
    last = std::move(stream).error();
  }
  co_return fail(std::move(last));
}

std::vector<std::size_t> Upstream::order() const {
  std::vector<std::size_t> all;
  for (const bool down : {false, true}) {
    for (std::size_t i = 0; i < down_.size(); ++i) {
      if (down_[i] == down) all.push_back(i);
    }
  }
  return all;
}

struct Upstream::Seeking {
  Wish wish;
  Clock::time_point until;
  Fence::Epoch epoch = 0;
  bool retry = false;  // he was told that it can't be reached, or is in no hurry
  ConnectionLimit::PermitPointer permit = nullptr;
  std::shared_ptr<Stream> given = nullptr;
  std::string_view why = "no upstream can be reached";
  Error last = Error("it can't be reached");
  // Where he stands in line.
  std::optional<ConnectionLimit::Seeker> seeker = {};
  std::optional<Line::Waiter> waits_for_retry = {};
  std::optional<Line::Waiter> waits_for_rate = {};

  bool urgent() const { return wish.urgent == nullptr || *wish.urgent; }
  Turn fail_by(std::string_view reason) {
    why = reason;
    last = Error(std::string(reason));
    return Turn::kFail;
  }
};

Awaitable<Upstream::Turn> Upstream::wait_in(Seeking& seeking, Line::Waiter& waiter,
                                            Clock::time_point until) {
  if (Clock::now() >= seeking.until) co_return Turn::kFail;
  co_await waiter.wait(std::min(until, seeking.until));
  co_return Turn::kLookAgain;
}

// Behind those who wait already.
bool Upstream::find_place(Seeking& seeking) {
  const bool first = seeking.seeker ? seeking.seeker->first() : !limit_.awaited();
  if (!first || (limit_.full() && !(evict_ && evict_()))) return false;
  seeking.permit = limit_.take();
  seeking.seeker.reset();
  return true;
}

// All that has to come true before an attempt. What was waited for is looked at again, with all
// that is before it.
Awaitable<Upstream::Turn> Upstream::wait_for_turn(Seeking& seeking) {
  if (seeking.seeker) {
    seeking.given = seeking.seeker->take();
    if (seeking.given && !seeking.given->stale()) co_return Turn::kGiven;
    // It left the line by being given that.
    if (seeking.given) seeking.seeker.reset();
  }
  if (gate_.closed()) {
    asio::steady_timer timer = loop_.timer();
    co_await gate_.wait(timer);
    seeking.until = Clock::now() + seeking.wish.hold;
    co_return Turn::kLookAgain;
  }
  turn_generation();
  if (seeking.epoch != epoch_) {
    if (seeking.epoch != 0 && !seeking.urgent())
      co_return seeking.fail_by("the machine was cloned");
    seeking.epoch = epoch_;
    seeking.retry = !seeking.urgent();
    seeking.permit = nullptr;
  }
  const auto now = Clock::now();
  if (breaker_.refuses(now)) {
    ++counts_.breaker_refused;
    co_return seeking.fail_by("the upstream's circuit breaker is open, after connects failed");
  }
  if (limit_.limited() && !seeking.permit && !find_place(seeking)) {
    seeking.waits_for_rate.reset();
    if (!seeking.seeker) seeking.seeker.emplace(limit_, loop_, seeking.wish.preface);
    const Turn turn = co_await wait_in(seeking, *seeking.seeker, seeking.until);
    if (turn != Turn::kFail) co_return turn;
    ++counts_.limit_refused;
    co_return seeking.fail_by("all connections to the upstream are in use (max_connections)");
  }
  if (seeking.retry && retries_.failing() && !retries_.due(now)) {
    seeking.waits_for_rate.reset();
    if (!retries_.trying() && retries_.next() >= seeking.until) co_return Turn::kFail;
    if (!seeking.waits_for_retry) seeking.waits_for_retry.emplace(retry_line_, loop_);
    co_return co_await wait_in(seeking, *seeking.waits_for_retry,
                               retries_.trying() ? seeking.until : retries_.next());
  }
  seeking.waits_for_retry.reset();
  if (!rate_.limited()) co_return Turn::kTry;
  const bool first = seeking.waits_for_rate ? seeking.waits_for_rate->first() : rate_line_.empty();
  if (first && rate_.next(now) <= now) co_return Turn::kTry;
  if (!seeking.waits_for_rate)
    seeking.waits_for_rate.emplace(rate_line_, loop_, seeking.wish.urgent);
  // Whoever became urgent meanwhile is before those who were called.
  if (!seeking.waits_for_rate->first()) rate_line_.call();
  const Turn turn =
      co_await wait_in(seeking, *seeking.waits_for_rate,
                       seeking.waits_for_rate->first() ? rate_.next(now) : seeking.until);
  if (turn != Turn::kFail) co_return turn;
  co_return seeking.fail_by("the upstream may not be connected to so often (connect_rate)");
}

Awaitable<Result<std::shared_ptr<Stream>>> Upstream::connect(Wish wish) {
  Seeking seeking{.wish = wish, .until = Clock::now() + wish.hold};
  for (;;) {
    const Turn turn = co_await wait_for_turn(seeking);
    if (turn == Turn::kFail) {
      if (wish.why != nullptr) *wish.why = seeking.why;
      co_return fail(std::move(seeking.last));
    }
    if (turn == Turn::kGiven) co_return std::move(seeking.given);
    if (turn == Turn::kLookAgain) continue;
    rate_.take(Clock::now());
    seeking.waits_for_rate.reset();
    const bool is_retry = seeking.retry && retries_.failing();
    if (is_retry) retries_.try_one();
    const bool decides = breaker_.begin();
    auto stream = co_await attempt(wish, seeking.permit);
    turn_generation();
    if (seeking.epoch == epoch_) {
      if (stream) {
        breaker_.succeeded();
        retries_.succeeded();
      } else {
        retries_.failed(Clock::now(), is_retry);
        if (breaker_.failed(Clock::now(), decides)) ++counts_.breaker_opened;
      }
      retry_line_.call_all();
    }
    if (stream) co_return std::shared_ptr<Stream>(std::move(*stream));
    seeking.last = std::move(stream).error();
    seeking.retry = true;
  }
}

}  // namespace clonesafe::proxy
