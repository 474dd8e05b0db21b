#include "proxy/protocols/postgres/postgres.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/core/backoff.h"
#include "proxy/core/spawn.h"
#include "proxy/core/within.h"
#include "proxy/protocols/postgres/admission.h"
#include "proxy/protocols/postgres/application_output.h"
#include "proxy/protocols/postgres/login.h"
#include "proxy/protocols/postgres/loss.h"
#include "proxy/protocols/postgres/outgoing.h"
#include "proxy/protocols/postgres/read_only_retry.h"
#include "proxy/protocols/postgres/server_pool.h"
#include "proxy/protocols/postgres/shared.h"
#include "proxy/protocols/postgres/shared_statements.h"
#include "proxy/wire/postgres/authentication.h"
#include "proxy/wire/postgres/server_messages.h"

namespace clonesafe::proxy::postgres {
namespace {

namespace asio = boost::asio;
namespace pg = wire::postgres;
using namespace asio::experimental::awaitable_operators;
using pg::Piece;

// As PostgreSQL's authentication_timeout.
constexpr std::chrono::seconds kAdmissionLimit{60};
constexpr std::chrono::milliseconds kFirstPause{50}, kLongestPause = ServerPool::kLongestPause;

// The server, or another, may take the session a little later.
bool passes(std::string_view sqlstate) {
  return sqlstate == sqlstate::kConnectionFailure || sqlstate == sqlstate::kTooManyConnections ||
         sqlstate == sqlstate::kCannotConnectNow || sqlstate == sqlstate::kAdminShutdown;
}

bool is_full(const Refusal& refusal) {
  return refusal.sqlstate == sqlstate::kTooManyConnections;
}

class PostgresSession final : public Session {
 public:
  PostgresSession(SessionHost& host, std::unique_ptr<Stream> application, Client client)
      : Session(host, std::move(client)),
        admission_(host, std::move(application), this->client()),
        output_(host.loop),
        pending_(shadow_),
        lost_(shadow_),
        statements_(pending_, shadow_),
        waiter_(host.loop),
        up_wake_(host.loop.timer()),
        down_wake_(host.loop.timer()) {}
  ~PostgresSession() override {
    if (own_.process != 0) host().postgres->remove(own_.process);
  }

  Awaitable<void> run() {
    // GCC 12 puts what is awaited in a condition before the frame, in a coroutine without
    // variables.
    bool goes_on = co_await admit();
    if (goes_on) goes_on = co_await begin();
    if (!goes_on) co_return;
    co_await (up() && down());
  }

  void fenced() override {
    if (application_.stream && application_.stream->stale()) return reset();
    // Whoever reads from it is woken, and does the rest.
    for (const auto& stream : {upstream_, connecting_}) {
      if (stream && stream->stale()) stream->close();
    }
  }
  void reset() override {
    admission_.reset();
    end();
  }
  // What listens goes on with the next connection, and is told nothing in between.
  void park() override {
    admission_.forget();
    if (!at_rest() || !shadow_.pinned().empty()) return;
    spawn(host().loop.io(), say_goodbye(upstream_));
    leave_server();
  }

 private:
  Awaitable<bool> admit() {
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

  Awaitable<bool> begin() {
    if (pool() == nullptr) co_return co_await open_session();
    StartupTerms terms = StartupTerms::of(application_.parameters);
    fixed_ = std::move(terms.fixed);
    key_ = key_of(fixed_);
    shadow_.begin(std::move(terms.settings));
    const std::string all = key_of(application_.parameters);
    if (const auto* const told = pool()->welcome(all)) {
      std::string news = news_of(*told);
      const bool given = co_await give(std::move(news));
      if (!given) end();
      co_return !ended_;
    }
    if (!co_await open_session()) co_return false;
    if (shadow_.pinned().empty()) pool()->keep_welcome(all, told_);
    give_back();
    co_return true;
  }

  // --- From the application. ---

  Awaitable<void> up() {
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

  // While there is a server, nothing is waited for before all was taken.
  Awaitable<void> take_from_application(std::string_view input) {
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
        answers += lost_.take(piece, options_);
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
          none_is_free_ = false;
          answers += lost_.refuse(piece, none_free());
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

  Status add_to_server(const Piece& piece, Outgoing& out) {
    up_in_message_ = !piece.last;
    const bool at_rest = piece.first && pending_.at_rest();
    if (auto added = add_message(piece, out); !added) return added;
    if (host().config.postgres.retry_read_only) retry_.sent(piece, pending_, options_, at_rest);
    return {};
  }
  Status add_message(const Piece& piece, Outgoing& out) {
    if (piece.first) {
      if (auto noted = pending_.sent(piece, options_); !noted) return noted;
      if (loan_) return statements_.add(piece, loan_->server->statements, out);
    }
    out.add(piece.bytes);
    return {};
  }

  // Nothing of it is used after the first suspension.
  Awaitable<void> send(std::string_view bytes) {
    const auto stream = upstream_;
    if (bytes.empty() || !stream) co_return;
    sending_ = true;
    const bool sent = (co_await stream->write(bytes_of(bytes))).has_value();
    sending_ = false;
    if (!sent && stream == upstream_ && !ended_) co_await lose();
  }

  Awaitable<void> until_connected() {
    wants_upstream_ = true;
    while (!ended_ && !upstream_ && !none_is_free_) {
      down_wake_.cancel();
      up_wake_.expires_at(asio::steady_timer::time_point::max());
      co_await up_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    wants_upstream_ = false;
  }

  // An application that asks faster than it is answered waits, as it would for the server.
  Awaitable<void> until_less_crowded() {
    while (!ended_ && pending_.crowded()) {
      up_wake_.expires_at(asio::steady_timer::time_point::max());
      co_await up_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  }

  Awaitable<void> terminate(Outgoing& out) {
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

  // --- From the server. ---

  Awaitable<void> down() {
    while (!ended_) {
      const auto stream = upstream_;
      if (!stream) {
        const bool waits = wants_upstream_ || (begins_again_ && !retry_.messages().empty());
        if (!lost_.active() && (waits || shadow_.listening())) {
          const bool due = waits || co_await wait_for_spread(down_wake_);
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

  Awaitable<void> take_from_server(std::string_view input) {
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

  bool is_fatal(const Piece& piece) const {
    if (!piece.is(ServerMessage::kErrorResponse)) return false;
    const auto fields = pg::parse_error_fields(piece.body(), piece.last);
    if (!fields || (fields->severity != "FATAL" && fields->severity != "PANIC")) return false;
    spdlog::info("{}: the upstream of {} ended the session: {}", host().config.name,
                 to_text(client().from), fields->sqlstate);
    return true;
  }

  // False if it is not for the application.
  Result<bool> take_message(const Piece& piece) {
    if (piece.is(ServerMessage::kParameterStatus)) {
      const auto parameter = pg::parse_parameter_status(piece.body());
      if (!parameter) return fail(parameter.error());
      told_[std::string(parameter->name)] = parameter->value;
      if (loan_) loan_->server->backend.parameters[std::string(parameter->name)] = parameter->value;
      take_options();
    }
    auto received = pending_.received(piece);
    if (received && *received && piece.is(ServerMessage::kReadyForQuery))
      retry_.ready(pending_.status());
    return received;
  }

  // What the texts of statements mean, and what they do.
  void take_options() {
    const auto value = [this](const char* name) {
      const auto found = told_.find(name);
      return found == told_.end() ? std::string_view() : std::string_view(found->second);
    };
    options_.standard_conforming_strings = value("standard_conforming_strings") != "off";
    options_.encoding = pg::sql_encoding(value("client_encoding"), value("server_encoding"));
    shadow_.reports_date_style(value("DateStyle"));
  }

  Awaitable<bool> give(std::string bytes) {
    co_return co_await output_.give(*application_.stream, std::move(bytes));
  }

  // --- From one server to the next. ---

  // The connection is gone, or stale. Nothing more is sent on it; what was under way is answered.
  Awaitable<void> lose() {
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
    begins_again_ = !up_in_message_ && retry_.lost(pending_, stale);
    std::string answers;
    if (begins_again_) {
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

  // Nothing is under way: another connection could go on from here.
  bool at_rest() const {
    return upstream_ && pending_.at_rest() && !up_in_message_ && !down_in_message_ && !sending_ &&
           !lost_.active() && server_.between_messages() && from_server_.empty();
  }

  void leave_server() {
    upstream_ = nullptr;
    pending_.share(nullptr);
    loan_.reset();
    lost_one_ = true;
    host().postgres->set_target(own_.process, nullptr);
  }

  // Behind what makes the connection the session's.
  Result<Replay> with_begin(Result<Replay> replay) const {
    if (!replay || !begins_again_) return replay;
    replay->messages += retry_.begin();
    ++replay->ready_count;
    return replay;
  }

  // What is under way of a transaction that began again; false if the session has ended.
  Awaitable<bool> say_again(Stream& stream, TransactionStatus status) {
    begins_again_ = false;
    if (status != TransactionStatus::kOpen) {
      co_await refuse_session(sqlstate::kProtocolViolation, "the server began no transaction");
      co_return false;
    }
    pending_.clear(status);
    const std::string messages = retry_.messages();
    std::string_view input = messages;
    Outgoing out(input);
    Framer framer(Framer::From::kClient);
    for (;;) {
      const auto next = framer.next(input);
      const Status added = !next ? fail(next.error()) : *next ? add_message(**next, out) : Status();
      if (!added) {
        co_await refuse_session(sqlstate::kProtocolViolation, added.error().message());
        co_return false;
      }
      if (!*next) break;
    }
    // What fails here is seen by whoever reads.
    const std::string bytes(out.bytes());
    if (!bytes.empty()) [[maybe_unused]]
      const auto sent = co_await stream.write(bytes_of(bytes));
    co_return !ended_;
  }

  // False if the session has ended.
  Awaitable<bool> open_session() {
    if (pool() != nullptr) co_return co_await borrow();
    const auto replay = with_begin(shadow_.replay());
    if (!replay) {
      co_await refuse_session("XX000", replay.error().message());
      co_return false;
    }
    const auto until = std::chrono::steady_clock::now() + host().config.hold;
    auto opened = co_await open_server(application_.parameters, *replay, until);
    if (ended_) co_return false;
    if (!opened) {
      co_await refused_by_server(opened.error());
      co_return false;
    }
    co_return co_await take_over(opened->backend, opened->target);
  }

  struct Opened {
    Backend backend;
    std::shared_ptr<const CancelTarget> target;
  };
  // A new connection of the application's user; or what a server said to the last attempt before
  // `until`. The session may have ended meanwhile.
  Awaitable<Answer<Opened>> open_server(const Parameters& parameters, const Replay& replay,
                                        ServerPool::Clock::time_point until) {
    const std::unexpected<Refusal> over = refuse(sqlstate::kConnectionFailure, "the session ended");
    bool at_once = true;
    if (pool() != nullptr) co_await pause_until(std::min(pool()->opens_from(), until));
    if (ended_) co_return over;
    Backoff backoff(kFirstPause, kLongestPause);
    for (;;) {
      CancelTarget target{.opened = cs_stamp{}};
      if (cs_generation(&*target.opened) != 0) target.opened.reset();
      auto connected = co_await connect(&target.peer);
      if (ended_) co_return over;
      if (!connected) {
        co_await refuse_session(sqlstate::kConnectionFailure, why_no_upstream());
        co_return over;
      }
      connecting_ = std::move(*connected);
      // What gives its secrets has a time of its own.
      limit_connecting(host().config.postgres.users_command.words.empty()
                           ? Milliseconds(0)
                           : host().config.postgres.users_command.timeout);
      auto backend = co_await log_in(host(), connecting_, application_, parameters, replay);
      connecting_limit_.cancel();
      const auto stream = std::exchange(connecting_, nullptr);
      if (ended_) co_return over;
      if (backend) {
        if (pool() != nullptr) pool()->let_in(at_once);
        if (is_local(target.peer.endpoint)) target.opened.reset();
        target.process = backend->process;
        target.key = backend->key;
        Opened opened{.backend = std::move(*backend),
                      .target = std::make_shared<const CancelTarget>(std::move(target))};
        co_return opened;
      }
      const bool stale = stream->stale();
      stream->close();
      // A clone's own first attempt is at once.
      if (stale) continue;
      if (pool() != nullptr && is_full(backend.error())) pool()->found_full();
      at_once = false;
      const auto next = std::chrono::steady_clock::now() + backoff.next();
      if (!passes(backend.error().sqlstate) || next >= until)
        co_return std::unexpected(std::move(backend).error());
      co_await pause_until(next);
      if (ended_) co_return over;
    }
  }

  Awaitable<void> pause_until(std::chrono::steady_clock::time_point then) {
    if (then <= std::chrono::steady_clock::now()) co_return;
    asio::steady_timer timer = host().loop.timer();
    timer.expires_at(then);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }

  Awaitable<void> refused_by_server(const Refusal& refusal) {
    ++host().counts.failed;
    if (!refusal.logged)
      spdlog::warn("{}: the upstream refuses {}: {}", host().config.name, to_text(client().from),
                   refusal.message);
    ends("upstream failed");
    co_await refuse_session(refusal.sqlstate, refusal.message);
  }

  // What waits for an answer on `connecting_` ends in time.
  void limit_connecting(Milliseconds more = Milliseconds(0)) {
    connecting_limit_.expires_after(host().config.upstream.connect_timeout + more);
    connecting_limit_.async_wait([stream = connecting_](const boost::system::error_code& error) {
      if (!error) stream->reset();
    });
  }

  Awaitable<bool> take_over(Backend& backend, std::shared_ptr<const CancelTarget> target) {
    host().postgres->set_target(own_.process, std::move(target));
    if (welcomed_ && lost_one_) ++host().counts.reopened;
    lost_one_ = false;
    std::string news = news_of(backend.parameters);
    server_ = std::move(backend.framer);
    from_server_ = std::exchange(backend.rest, {});
    const auto stream = backend.stream;
    if (!co_await give(std::move(news))) {
      end();
      co_return false;
    }
    if (ended_) co_return false;
    if (begins_again_) {
      connecting_ = stream;
      const bool goes_on = co_await say_again(*stream, backend.status);
      connecting_ = nullptr;
      if (!goes_on) co_return false;
    }
    upstream_ = stream;
    up_wake_.cancel();
    co_return true;
  }

  // What the application has to be told of a connection, at its login or afterwards.
  std::string news_of(const std::map<std::string, std::string>& parameters) {
    std::string news;
    if (!welcomed_) pg::append_authentication_ok(news);
    for (const auto& [name, value] : parameters) {
      std::string& told = told_[name];
      if (welcomed_ && told == value) continue;
      told = value;
      const pg::Parameter parameter{.name = name, .value = value};
      static_cast<void>(pg::append_parameter_status(news, parameter));
    }
    take_options();
    if (!welcomed_) {
      const pg::BackendKeyData key{.process = own_.process, .key = own_.key};
      static_cast<void>(pg::append_backend_key_data(news, key));
      pg::append_ready_for_query(news, TransactionStatus::kIdle);
      welcomed_ = true;
    }
    return news;
  }

  // --- Connections that sessions share. ---

  ServerPool* pool() const { return host().servers; }

  Refusal none_free() const {
    return {.sqlstate = std::string(sqlstate::kTooManyConnections),
            .message = "no connection to the server was free within " +
                       std::to_string(host().config.hold.count()) + " ms"};
  }

  // False if the session has ended.
  Awaitable<bool> borrow() {
    // What it did to the last one is known there.
    shadow_.moves_on();
    for (;;) {
      auto loan = co_await pool()->borrow(waiter_, key_, *application_.stream);
      if (ended_) {
        if (loan && loan->server) pool()->give_back(std::move(loan));
        co_return false;
      }
      if (!loan && waiter_.left()) {
        ends("application left");
        end();
        co_return false;
      }
      if (!loan) co_return co_await find_none_free();
      const bool fresh = !loan->server;
      if (fresh) {
        const Replay nothing;
        auto opened = co_await open_server(fixed_, nothing, waiter_.until());
        if (ended_) co_return false;
        if (!opened) {
          loan.reset();
          if (is_full(opened.error())) co_return co_await find_none_free();
          co_await refused_by_server(opened.error());
          co_return false;
        }
        loan->server = std::make_unique<SharedServer>();
        loan->server->backend = std::move(opened->backend);
        loan->server->key = key_;
        loan->server->target = std::move(opened->target);
        loan->server->state = std::make_shared<const SessionState>();
      }
      auto settled = co_await settle(*loan->server);
      if (ended_) co_return false;
      if (settled) {
        SharedServer& server = *loan->server;
        loan_ = std::move(loan);
        pending_.share(&server.statements);
        co_return co_await take_over(server.backend, server.target);
      }
      const bool stale = loan->server->backend.stream->stale();
      loan->server->backend.stream->close();
      // One that waited may have been lost, or may not be what it was taken for.
      if (fresh && !stale) {
        co_await refused_by_server(settled.error());
        co_return false;
      }
    }
  }

  // Makes the session's own what the last one left.
  Awaitable<Answer<void>> settle(SharedServer& server) {
    const auto state = shadow_.state();
    std::set<std::string>& own_names = server.statements.own_names();
    if (!shadow_.listening() && own_names.empty() && !begins_again_ &&
        (server.state == state || *server.state == *state))
      co_return Answer<void>();
    const auto replay = with_begin(shadow_.replay_from(*server.state, own_names));
    if (!replay) co_return refuse("XX000", replay.error().message());
    connecting_ = server.backend.stream;
    limit_connecting();
    auto said = co_await say(server.backend, *replay);
    connecting_limit_.cancel();
    connecting_ = nullptr;
    server.state = state;
    own_names.clear();
    co_return said;
  }

  // It was not asked for yet, so that the application can ask again.
  Awaitable<bool> find_none_free() {
    if (!welcomed_ || begins_again_) {
      const Refusal refusal = none_free();
      co_await refuse_session(refusal.sqlstate, refusal.message);
      co_return false;
    }
    if (wants_upstream_) {
      none_is_free_ = true;
      wants_upstream_ = false;
      up_wake_.cancel();
      co_return true;
    }
    // It only listens.
    down_wake_.expires_after(kLongestPause);
    co_await down_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return !ended_;
  }

  // After a transaction, unless the session has something that others must not see, or that it
  // would miss.
  void give_back() {
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

  // The protocol's own way to say why a session ends.
  Awaitable<void> refuse_session(std::string_view sqlstate, std::string_view why) {
    if (ended_) co_return;
    ends("refused");
    if (down_in_message_) co_return end();
    ended_ = true;
    std::string message = error_message("FATAL", sqlstate, why);
    [[maybe_unused]] const bool given = co_await give(std::move(message));
    application_.stream->close();
    wake_all();
  }

  void end() {
    ended_ = true;
    if (application_.stream) application_.stream->reset();
    wake_all();
  }
  void wake_all() {
    for (const auto& stream : {upstream_, connecting_}) {
      if (stream) stream->close();
    }
    waiter_.cancel();
    up_wake_.cancel();
    down_wake_.cancel();
  }

  Admission admission_;
  Application application_;
  ApplicationOutput output_;
  Shared::Key own_;  // of the application, to cancel with
  // Null: none now. Whoever waits for one keeps it.
  std::shared_ptr<Stream> upstream_, connecting_;
  Framer server_{Framer::From::kServer};
  std::string from_server_;                  // what was read at its login already
  std::map<std::string, std::string> told_;  // settings that the application knows of
  SqlOptions options_;

  Shadow shadow_;
  Pending pending_;
  LostTransaction lost_;
  SharedStatements statements_;
  ReadOnlyRetry retry_;
  bool begins_again_ = false;  // the transaction that is in `retry_`, on the next connection

  // Where connections are shared.
  Parameters fixed_;  // with which they are opened
  std::string key_;
  ServerPool::Waiter waiter_;
  std::unique_ptr<ServerPool::Loan> loan_;  // `upstream_`, if there is one
  bool none_is_free_ = false;
  bool keeps_server_ = false;

  bool discards_ = false;  // the rest of a message of the application
  bool up_in_message_ = false, down_in_message_ = false;

  bool sending_ = false;

  asio::steady_timer up_wake_, down_wake_;
  asio::steady_timer connecting_limit_{host().loop.timer()};
  bool ended_ = false;
  bool wants_upstream_ = false;
  bool welcomed_ = false;
  bool lost_one_ = false;  // a server's connection
};

}  // namespace

Awaitable<void> serve(SessionHost& host, std::unique_ptr<Stream> application, Client client) {
  PostgresSession session(host, std::move(application), std::move(client));
  co_await session.run();
}

}  // namespace clonesafe::proxy::postgres
