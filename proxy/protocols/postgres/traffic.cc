#include "proxy/protocols/postgres/postgres_session.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/server_messages.h"

namespace clonesafe::proxy::postgres {
namespace {

namespace asio = boost::asio;
namespace pg = wire::postgres;
using pg::Piece;

}  // namespace

Awaitable<void> PostgresSession::up() {
  std::string kept = std::move(application_.rest);
  while (!ended_) {
    std::string_view input = kept;
    if (kept.empty()) {
      const auto count = co_await application_.stream->read(host().loop.scratch());
      if (ended_) co_return;
      if (!count || *count == 0) {
        ends(count ? "ended" : "application failed");
        co_return end();
      }
      use();
      input = view_of(host().loop.scratch().first(*count));
      const bool stale = upstream_ && upstream_->stale();
      if (stale || !upstream_) {
        kept = input;
        input = kept;
        // Not one of these bytes was sent.
        if (stale) co_await lose();
      }
    }
    co_await take_from_application(input);
    kept.clear();
    co_await until_less_crowded();
  }
}

Awaitable<void> PostgresSession::take_from_application(std::string_view input) {
  Outgoing out(input);
  std::string answers;
  while (!ended_) {
    const auto next = application_.framer.next(input);
    if (!next)
      co_return co_await refuse_session(sqlstate::kProtocolViolation, next.error().message());
    if (!*next) break;
    const Piece piece = **next;
    if (piece.first && piece.is(ClientMessage::kTerminate)) co_return co_await terminate(out);
    if (!piece.first && discards_) {
      discards_ = !piece.last;
      continue;
    }
    if (piece.first && lost_.takes_messages()) {
      answers += lost_.take(piece, told_.options());
      if (!lost_.active()) down_wake_.cancel();
      discards_ = !piece.last;
      continue;
    }
    if (piece.first && pending_.leaves_out(piece)) {
      discards_ = !piece.last;
      continue;
    }
    if (!upstream_) {
      if (pool() != nullptr && asks_for_nothing(static_cast<ClientMessage>(piece.type))) {
        discards_ = !piece.last;
        continue;
      }
      if (!answers.empty() && !co_await give(std::exchange(answers, {}))) co_return end();
      co_await until_connected();
      if (ended_) co_return;
      if (none_is_free_) {
        answers += lost_.refuse(piece, *none_is_free_);
        none_is_free_.reset();
        discards_ = !piece.last;
        continue;
      }
    }
    if (auto added = add_to_server(piece, out); !added)
      co_return co_await refuse_session(sqlstate::kProtocolViolation, added.error().message());
  }
  if (ended_) co_return;
  if (answers.empty()) co_return co_await send(out.bytes());
  const std::string bytes(out.bytes());
  if (!co_await give(std::move(answers))) co_return end();
  co_await send(bytes);
}

Status PostgresSession::add_to_server(const Piece& piece, Outgoing& out) {
  up_in_message_ = !piece.last;
  const bool at_rest = piece.first && pending_.at_rest();
  if (auto added = add_message(piece, out); !added) return added;
  if (host().config.postgres.retry_read_only)
    retry_.sent(piece, pending_, told_.options(), at_rest);
  return {};
}

Status PostgresSession::add_message(const Piece& piece, Outgoing& out) {
  if (piece.first) {
    if (auto noted = pending_.sent(piece, told_.options()); !noted) return noted;
    if (loan_) return statements_.add(piece, loan_->server->statements, out);
  }
  out.add(piece.bytes);
  return {};
}

Awaitable<void> PostgresSession::send(std::string_view bytes) {
  const auto stream = upstream_;
  if (bytes.empty() || !stream) co_return;
  sending_ = true;
  const bool sent = (co_await stream->write(bytes_of(bytes))).has_value();
  sending_ = false;
  if (!sent && stream == upstream_ && !ended_) co_await lose();
}

Awaitable<void> PostgresSession::until_connected() {
  wants_upstream_ = true;
  while (!ended_ && !upstream_ && !none_is_free_) {
    down_wake_.cancel();
    up_wake_.expires_at(asio::steady_timer::time_point::max());
    co_await up_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  wants_upstream_ = false;
}

Awaitable<void> PostgresSession::until_less_crowded() {
  while (!ended_ && pending_.crowded()) {
    up_wake_.expires_at(asio::steady_timer::time_point::max());
    co_await up_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

Awaitable<void> PostgresSession::terminate(Outgoing& out) {
  const auto stream = upstream_;
  if (stream && !stream->stale()) {
    std::string last(out.bytes());
    pg::append_terminate(last);
    [[maybe_unused]] const auto sent = co_await stream->write(bytes_of(last));
  }
  ended_ = true;
  application_.stream->close();
  wake_all();
}

Awaitable<void> PostgresSession::down() {
  while (!ended_) {
    const auto stream = upstream_;
    if (!stream) {
      const bool waits = wants_upstream_ || (retry_.begins_again() && !retry_.messages().empty());
      if (!lost_.active() && (waits || shadow_.listening())) {
        const bool due = waits || co_await host().upstream.wait_for_spread(down_wake_);
        if (ended_) co_return;
        if (due && !co_await open_session()) co_return;
      } else {
        down_wake_.expires_at(asio::steady_timer::time_point::max());
        co_await down_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
      }
      continue;
    }
    const std::string first = std::exchange(from_server_, {});
    std::string_view input = first;
    if (first.empty()) {
      const auto count = co_await stream->read(host().loop.scratch());
      if (ended_) co_return;
      if (stream != upstream_) continue;
      if (!count || *count == 0) {
        co_await lose();
        continue;
      }
      use();
      input = view_of(host().loop.scratch().first(*count));
    }
    co_await take_from_server(input);
    give_back();
  }
}

Awaitable<void> PostgresSession::take_from_server(std::string_view input) {
  const auto stream = upstream_;
  Outgoing out(input);
  bool server_ends = false;
  Result<bool> taken = true;
  for (;;) {
    const auto next = server_.next(input);
    if (!next) taken = fail(next.error());
    if (!taken || !*next) break;
    const Piece& piece = **next;
    if (piece.first && is_fatal(piece)) server_ends = true;
    if (server_ends) continue;  // the application's session doesn't end with this one
    if (piece.first) taken = take_message(piece);
    if (!taken) break;
    // What is the proxy's own is whole.
    if (piece.first && !*taken) continue;
    down_in_message_ = !piece.last;
    out.add(piece.bytes);
  }
  if (!pending_.crowded()) up_wake_.cancel();
  const bool given = co_await output_.give_view(*application_.stream, out.bytes());
  if (ended_) co_return;
  if (!given) co_return end();
  if (!taken) {
    spdlog::warn("{}: the upstream of {}: {}", host().config.name, to_text(client().from),
                 taken.error().message());
    co_return co_await refuse_session(sqlstate::kProtocolViolation, taken.error().message());
  }
  if (server_ends && stream == upstream_) co_await lose();
}

bool PostgresSession::is_fatal(const Piece& piece) const {
  if (!piece.is(ServerMessage::kErrorResponse)) return false;
  const auto fields = pg::parse_error_fields(piece.body(), piece.last);
  if (!fields || (fields->severity != "FATAL" && fields->severity != "PANIC")) return false;
  spdlog::info("{}: the upstream of {} ended the session: {}", host().config.name,
               to_text(client().from), fields->sqlstate);
  return true;
}

Result<bool> PostgresSession::take_message(const Piece& piece) {
  if (piece.is(ServerMessage::kParameterStatus)) {
    const auto parameter = pg::parse_parameter_status(piece.body());
    if (!parameter) return fail(parameter.error());
    told_.set(parameter->name, parameter->value);
    if (loan_) loan_->server->backend.parameters[std::string(parameter->name)] = parameter->value;
  }
  auto received = pending_.received(piece);
  if (received && *received && piece.is(ServerMessage::kReadyForQuery))
    retry_.ready(pending_.status());
  return received;
}

Awaitable<bool> PostgresSession::give(std::string bytes) {
  co_return co_await output_.give(*application_.stream, std::move(bytes));
}

}  // namespace clonesafe::proxy::postgres
