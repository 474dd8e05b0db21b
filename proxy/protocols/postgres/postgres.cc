#include "proxy/protocols/postgres/postgres.h"

#include <spdlog/spdlog.h>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "proxy/core/spawn.h"
#include "proxy/core/within.h"
#include "proxy/protocols/postgres/postgres_session.h"

namespace clonesafe::proxy::postgres {
namespace {

using namespace boost::asio::experimental::awaitable_operators;

// As PostgreSQL's authentication_timeout.
constexpr std::chrono::seconds kAdmissionLimit{60};

}  // namespace

Awaitable<void> PostgresSession::run() {
  // GCC 12 puts what is awaited in a condition before the frame, in a coroutine without
  // variables.
  bool goes_on = co_await admit();
  if (goes_on) goes_on = co_await begin();
  if (!goes_on) co_return;
  co_await (up() && down());
}

void PostgresSession::fenced() {
  if (application_.stream && application_.stream->stale()) return reset();
  // Whoever reads from it is woken, and does the rest.
  if (upstream_ && upstream_->stale()) upstream_->close();
  opener_.fence();
}

void PostgresSession::reset() {
  admission_.reset();
  end();
}

void PostgresSession::park() {
  admission_.forget();
  if (!at_rest() || !shadow_.pinned().empty()) return;
  spawn(host().loop.io(), say_goodbye(upstream_));
  leave_server();
}

Awaitable<bool> PostgresSession::admit() {
  auto admitted = co_await within(host().loop, kAdmissionLimit, admission_.admit());
  if (!admitted) {
    const std::string& why = admitted.error().message();
    if (!why.empty()) spdlog::info("{}: {}: {}", host().config.name, to_text(client().from), why);
    co_return false;
  }
  if (!*admitted || ended_) co_return false;
  application_ = std::move(**admitted);
  for (const auto& [name, value] : application_.parameters) {
    if (name == "replication" && value != "false" && value != "off" && value != "0")
      shadow_.pin("replication");
  }
  auto key = host().postgres->add();
  if (!key) {
    co_await refuse_session("XX000", key.error().message());
    co_return false;
  }
  own_ = std::move(*key);
  statements_.begin(own_.process);
  co_return true;
}

Awaitable<bool> PostgresSession::begin() {
  if (pool() == nullptr) co_return co_await open_session();
  StartupTerms terms = StartupTerms::of(application_.parameters);
  borrower_.begin(std::move(terms.fixed));
  shadow_.begin(std::move(terms.settings));
  const std::string all = key_of(application_.parameters);
  if (const auto* const told = pool()->welcome(all)) {
    std::string news = told_.news_of(*told, own_);
    const bool given = co_await give(std::move(news));
    if (!given) end();
    co_return !ended_;
  }
  if (!co_await open_session()) co_return false;
  if (shadow_.pinned().empty()) pool()->keep_welcome(all, told_.settings());
  give_back();
  co_return true;
}

Awaitable<void> PostgresSession::refuse_session(std::string_view sqlstate, std::string_view why) {
  if (ended_) co_return;
  ends("refused");
  if (down_in_message_) co_return end();
  ended_ = true;
  std::string message = error_message("FATAL", sqlstate, why);
  [[maybe_unused]] const bool given = co_await give(std::move(message));
  application_.stream->close();
  wake_all();
}

void PostgresSession::end() {
  ended_ = true;
  if (application_.stream) application_.stream->reset();
  wake_all();
}

void PostgresSession::wake_all() {
  if (upstream_) upstream_->close();
  opener_.end();
  borrower_.end();
  up_wake_.cancel();
  down_wake_.cancel();
}

Awaitable<void> serve(SessionHost& host, std::unique_ptr<Stream> application, Client client) {
  PostgresSession session(host, std::move(application), std::move(client));
  co_await session.run();
}

}  // namespace clonesafe::proxy::postgres
