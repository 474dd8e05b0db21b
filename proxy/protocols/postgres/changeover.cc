#include "proxy/protocols/postgres/postgres_session.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/core/spawn.h"
#include "proxy/protocols/postgres/loss.h"

namespace clonesafe::proxy::postgres {
namespace {

namespace asio = boost::asio;

// Of an application that only listens, where no connection is free.
constexpr std::chrono::milliseconds kLongestPause = ServerPool::kLongestPause;

}  // namespace

Awaitable<void> PostgresSession::lose() {
  if (!upstream_) co_return;
  const bool stale = upstream_->stale();
  const std::string_view how = stale ? "cloned" : "upstream failed";
  if (stale) ++host().counts.fenced;
  upstream_->reset();
  leave_server();
  // Half a message can be neither taken back nor finished.
  if (down_in_message_) {
    ends(how);
    co_return end();
  }
  const Refusal refusal = why_it_ends(pending_, shadow_);
  if (!refusal.sqlstate.empty()) {
    ends(how);
    co_return co_await refuse_session(refusal.sqlstate, refusal.message);
  }
  std::string answers;
  if (!up_in_message_ && retry_.lost(pending_, stale)) {
    shadow_.transaction_lost();
    pending_.clear(TransactionStatus::kIdle);
  } else {
    answers = answer_all(pending_, shadow_, lost_);
  }
  discards_ = std::exchange(up_in_message_, false);
  up_wake_.cancel();
  down_wake_.cancel();
  if (!co_await give(std::move(answers))) end();
}

bool PostgresSession::at_rest() const {
  return upstream_ && pending_.at_rest() && !up_in_message_ && !down_in_message_ && !sending_ &&
         !lost_.active() && server_.between_messages() && from_server_.empty();
}

void PostgresSession::leave_server() {
  upstream_ = nullptr;
  pending_.share(nullptr);
  loan_.reset();
  lost_one_ = true;
  host().postgres->set_target(own_.process, nullptr);
}

Awaitable<bool> PostgresSession::say_again(std::shared_ptr<Stream> stream,
                                           TransactionStatus status) {
  retry_.begun_again();
  if (status != TransactionStatus::kOpen) {
    co_await refuse_session(sqlstate::kProtocolViolation, "the server began no transaction");
    co_return false;
  }
  ++host().counts.retried;
  pending_.clear(status);
  auto messages = messages_again();
  if (!messages) {
    co_await refuse_session(sqlstate::kProtocolViolation, messages.error().message());
    co_return false;
  }
  if (!messages->empty()) co_await opener_.write(std::move(stream), std::move(*messages));
  co_return !ended_;
}

Result<std::string> PostgresSession::messages_again() {
  std::string_view input = retry_.messages();
  Outgoing out(input);
  Framer framer(Framer::From::kClient);
  for (;;) {
    const auto next = framer.next(input);
    if (!next) return fail(next.error());
    if (!*next) return std::string(out.bytes());
    if (auto added = add_message(**next, out); !added) return fail(added.error());
  }
}

Awaitable<bool> PostgresSession::open_session() {
  if (pool() != nullptr) co_return co_await borrow();
  const auto replay = retry_.put_behind(shadow_.replay());
  if (!replay) {
    co_await refuse_session("XX000", replay.error().message());
    co_return false;
  }
  const auto until = std::chrono::steady_clock::now() + host().config.hold;
  auto opened = co_await opener_.open(application_.parameters, *replay, until);
  if (ended_) co_return false;
  if (!opened) {
    co_await refused_by_server(opened.error());
    co_return false;
  }
  co_return co_await take_over(opened->backend, opened->target);
}

Awaitable<Answer<std::shared_ptr<Stream>>> PostgresSession::connect_for_opener(
    Upstream::Peer& peer) {
  auto connected = co_await connect(&peer);
  if (connected) co_return std::move(*connected);
  Refusal refusal{.sqlstate = std::string(sqlstate::kConnectionFailure),
                  .message = why_no_upstream(),
                  .logged = true};
  co_return std::unexpected(std::move(refusal));
}

Awaitable<void> PostgresSession::refused_by_server(const Refusal& refusal) {
  if (!refusal.logged) {
    ++host().counts.failed;
    spdlog::warn("{}: the upstream refuses {}: {}", host().config.name, to_text(client().from),
                 refusal.message);
  }
  ends("upstream failed");
  co_await refuse_session(refusal.sqlstate, refusal.message);
}

Awaitable<bool> PostgresSession::take_over(Backend& backend,
                                           std::shared_ptr<const CancelTarget> target) {
  host().postgres->set_target(own_.process, std::move(target));
  if (told_.welcomed() && lost_one_) ++host().counts.reopened;
  lost_one_ = false;
  std::string news = told_.news_of(backend.parameters, own_);
  server_ = std::move(backend.framer);
  from_server_ = std::exchange(backend.rest, {});
  const auto stream = backend.stream;
  if (!co_await give(std::move(news))) {
    end();
    co_return false;
  }
  if (ended_) co_return false;
  if (retry_.begins_again()) {
    const bool goes_on = co_await say_again(stream, backend.status);
    if (!goes_on) co_return false;
  }
  upstream_ = stream;
  up_wake_.cancel();
  co_return true;
}

Awaitable<bool> PostgresSession::borrow() {
  // What it did to the last one is known there.
  shadow_.moves_on();
  auto loan = co_await borrower_.borrow(*application_.stream);
  if (ended_) co_return false;
  if (!loan) co_return co_await find_none(loan.error());
  loan_ = std::move(*loan);
  SharedServer& server = *loan_->server;
  pending_.share(&server.statements);
  co_return co_await take_over(server.backend, server.target);
}

Awaitable<bool> PostgresSession::find_none(const Refusal& refusal) {
  if (borrower_.left()) {
    ends("application left");
    end();
    co_return false;
  }
  if (is_full(refusal)) co_return co_await find_none_free(refusal);
  co_await refused_by_server(refusal);
  co_return false;
}

Awaitable<bool> PostgresSession::find_none_free(const Refusal& refusal) {
  if (!told_.welcomed() || retry_.begins_again()) {
    co_await refuse_session(refusal.sqlstate, refusal.message);
    co_return false;
  }
  if (wants_upstream_) {
    none_is_free_ = refusal;
    wants_upstream_ = false;
    up_wake_.cancel();
    co_return true;
  }
  // It only listens.
  down_wake_.expires_after(kLongestPause);
  co_await down_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
  co_return !ended_;
}

void PostgresSession::give_back() {
  if (!loan_ || !at_rest()) return;
  if (!shadow_.kept_by().empty()) {
    if (!keeps_server_) ++host().counts.pinned;
    keeps_server_ = true;
    return;
  }
  keeps_server_ = false;
  if (pending_.in_doubt()) {
    upstream_->close();
    return leave_server();
  }
  SharedServer& server = *loan_->server;
  server.backend.framer = std::move(server_);
  server.state = shadow_.state();
  upstream_ = nullptr;
  pending_.share(nullptr);
  host().postgres->set_target(own_.process, nullptr);
  pool()->give_back(std::move(loan_));
}

}  // namespace clonesafe::proxy::postgres
