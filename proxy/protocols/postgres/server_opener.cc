#include "proxy/protocols/postgres/server_opener.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "proxy/core/backoff.h"
#include "proxy/protocols/postgres/server_pool.h"

namespace clonesafe::proxy::postgres {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::milliseconds kFirstPause{50}, kLongestPause = ServerPool::kLongestPause;

// The server, or another, may take the session a little later. Who could not connect at all has
// waited already.
bool passes(const Refusal& refusal) {
  return !refusal.logged && (refusal.sqlstate == sqlstate::kConnectionFailure || is_full(refusal) ||
                             refusal.sqlstate == sqlstate::kCannotConnectNow ||
                             refusal.sqlstate == sqlstate::kAdminShutdown);
}

}  // namespace

Awaitable<Answer<OpenedServer>> ServerOpener::open(const Parameters& parameters,
                                                   const Replay& replay, Clock::time_point until,
                                                   bool was_counted) {
  const std::unexpected<Refusal> over = refuse(sqlstate::kConnectionFailure, "the session ended");
  ServerPool* const pool = host_.servers;
  if (pool != nullptr) co_await pause_until(std::min(pool->opens_from(), until));
  Backoff backoff(kFirstPause, kLongestPause);
  for (bool at_once = true;; at_once = false) {
    if (ended_) co_return over;
    auto opened = co_await attempt(parameters, replay);
    if (ended_) co_return over;
    if (opened) {
      if (pool != nullptr) pool->let_in(at_once);
      co_return opened;
    }
    const bool full = is_full(opened.error());
    if (full && pool != nullptr) pool->found_full();
    if (full && !std::exchange(was_counted, true)) ++host_.counts.waited;
    const auto next = Clock::now() + backoff.next();
    if (!passes(opened.error()) || next >= until) {
      if (full) ++host_.counts.timed_out;
      co_return opened;
    }
    co_await pause_until(next);
  }
}

// A clone's own first one is at once.
Awaitable<Answer<OpenedServer>> ServerOpener::attempt(const Parameters& parameters,
                                                      const Replay& replay) {
  for (;;) {
    CancelTarget target{.opened = cs_stamp{}};
    if (cs_generation(&*target.opened) != 0) target.opened.reset();
    auto connected = co_await connect_(target.peer);
    if (!connected) co_return std::unexpected(std::move(connected).error());
    if (ended_) co_return refuse(sqlstate::kConnectionFailure, "the session ended");
    stream_ = std::move(*connected);
    // What gives its secrets has a time of its own.
    const CommandConfig& command = host_.config.postgres.users_command;
    limit_silence(command.words.empty() ? Milliseconds(0) : command.timeout);
    auto backend = co_await log_in(host_, stream_, application_, parameters, replay);
    limit_.cancel();
    const auto stream = std::exchange(stream_, nullptr);
    if (backend) {
      if (is_local(target.peer.endpoint)) target.opened.reset();
      target.process = backend->process;
      target.key = backend->key;
      OpenedServer opened{.backend = std::move(*backend),
                          .target = std::make_shared<const CancelTarget>(std::move(target))};
      co_return opened;
    }
    const bool stale = stream->stale();
    stream->close();
    if (!stale || ended_) co_return std::unexpected(std::move(backend).error());
  }
}

Awaitable<Answer<void>> ServerOpener::say(Backend& backend, const Replay& replay) {
  stream_ = backend.stream;
  limit_silence();
  auto said = co_await postgres::say(backend, replay);
  limit_.cancel();
  stream_ = nullptr;
  co_return said;
}

Awaitable<void> ServerOpener::write(std::shared_ptr<Stream> stream, std::string bytes) {
  stream_ = std::move(stream);
  [[maybe_unused]] const auto written = co_await stream_->write(bytes_of(bytes));
  stream_ = nullptr;
}

Awaitable<void> ServerOpener::pause_until(Clock::time_point then) {
  if (then <= Clock::now()) co_return;
  asio::steady_timer timer = host_.loop.timer();
  timer.expires_at(then);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

// Who waits for an answer has an error then.
void ServerOpener::limit_silence(Milliseconds more) {
  limit_.expires_after(host_.config.upstream.connect_timeout + more);
  limit_.async_wait([stream = stream_](const boost::system::error_code& error) {
    if (!error) stream->reset();
  });
}

}  // namespace clonesafe::proxy::postgres
