#include "proxy/protocols/postgres/borrower.h"

#include <set>
#include <utility>

namespace clonesafe::proxy::postgres {

void Borrower::begin(Parameters fixed) {
  fixed_ = std::move(fixed);
  key_ = key_of(fixed_);
}

std::unexpected<Refusal> Borrower::none_free() const {
  return refuse(sqlstate::kTooManyConnections, "no connection to the server was free within " +
                                                   std::to_string(host_.config.hold.count()) +
                                                   " ms");
}

Awaitable<Answer<std::unique_ptr<ServerPool::Loan>>> Borrower::borrow(Stream& application) {
  const std::unexpected<Refusal> over = refuse(sqlstate::kConnectionFailure, "the session ended");
  for (;;) {
    auto loan = co_await host_.servers->borrow(waiter_, key_, application);
    if (ended_) {
      if (loan && loan->server) host_.servers->give_back(std::move(loan));
      co_return over;
    }
    if (!loan) co_return none_free();
    const bool fresh = !loan->server;
    if (fresh) {
      auto opened = co_await open();
      if (!opened) {
        loan.reset();
        if (is_full(opened.error())) co_return none_free();
        co_return std::unexpected(std::move(opened).error());
      }
      loan->server = std::move(*opened);
    }
    auto settled = co_await settle(*loan->server);
    if (ended_) co_return over;
    if (settled) co_return loan;
    const bool stale = loan->server->backend.stream->stale();
    loan->server->backend.stream->close();
    // One that waited may have been lost, or may not be what it was taken for.
    if (fresh && !stale) co_return std::unexpected(std::move(settled).error());
  }
}

Awaitable<Answer<std::unique_ptr<SharedServer>>> Borrower::open() {
  const Replay nothing;
  auto opened = co_await opener_.open(fixed_, nothing, waiter_.until(), waiter_.waited());
  if (!opened) co_return std::unexpected(std::move(opened).error());
  auto server = std::make_unique<SharedServer>();
  server->backend = std::move(opened->backend);
  server->key = key_;
  server->target = std::move(opened->target);
  server->state = std::make_shared<const SessionState>();
  co_return server;
}

// Makes the session's own what the last one left.
Awaitable<Answer<void>> Borrower::settle(SharedServer& server) {
  const auto state = shadow_.state();
  std::set<std::string>& own_names = server.statements.own_names();
  if (!shadow_.listening() && own_names.empty() && !retry_.begins_again() &&
      (server.state == state || *server.state == *state))
    co_return Answer<void>();
  const auto replay = retry_.put_behind(shadow_.replay_from(*server.state, own_names));
  if (!replay) co_return refuse("XX000", replay.error().message());
  auto said = co_await opener_.say(server.backend, *replay);
  server.state = state;
  own_names.clear();
  co_return said;
}

}  // namespace clonesafe::proxy::postgres
