#include "proxy/protocols/postgres/postgres.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/core/backoff.h"
#include "proxy/core/within.h"
#include "proxy/protocols/postgres/admission.h"
#include "proxy/protocols/postgres/login.h"
#include "proxy/protocols/postgres/lost_transaction.h"
#include "proxy/protocols/postgres/outgoing.h"
#include "proxy/protocols/postgres/pending.h"
#include "proxy/protocols/postgres/shared.h"
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
constexpr std::chrono::milliseconds kFirstPause{50}, kLongestPause{2'000};

// The server, or another, may take the session a little later.
bool passes(std::string_view sqlstate) {
  return sqlstate == sqlstate::kConnectionFailure || sqlstate == sqlstate::kTooManyConnections ||
         sqlstate == sqlstate::kCannotConnectNow || sqlstate == sqlstate::kAdminShutdown;
}

Awaitable<void> say_goodbye(std::shared_ptr<Stream> server) {
  std::string terminate;
  pg::append_terminate(terminate);
  [[maybe_unused]] const auto told = co_await server->write(bytes_of(terminate));
  co_await part_from(server);
}

class PostgresSession final : public Session {
 public:
  PostgresSession(SessionHost& host, std::unique_ptr<Stream> application, Client client)
      : Session(host, std::move(client)),
        admission_(host, std::move(application), this->client()),
        pending_(shadow_),
        lost_(shadow_),
        up_wake_(host.loop.timer()),
        down_wake_(host.loop.timer()),
        given_(host.loop.timer()) {}
  ~PostgresSession() override {
    if (own_.process != 0) host().postgres->remove(own_.process);
  }

  Awaitable<void> run() {
    // GCC 12 puts what is awaited in a condition before the frame, in a coroutine without
    // variables.
    bool goes_on = co_await admit();
    if (goes_on) goes_on = co_await open_session();
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
    if (!upstream_ || !pending_.idle() || pending_.status() != TransactionStatus::kIdle ||
        up_in_message_ || down_in_message_ || lost_.active() || !shadow_.pinned().empty())
      return;
    host().postgres->set_target(own_.process, std::nullopt);
    asio::co_spawn(host().loop.io(), say_goodbye(std::exchange(upstream_, nullptr)),
                   asio::detached);
  }

 private:
  Awaitable<bool> admit() {
    auto admitted = co_await within(host().loop, kAdmissionLimit, admission_.admit());
    if (!admitted) {
      spdlog::info("{}: {}: {}", host().config.name, to_text(client().from),
                   admitted.error().message());
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
      if (!upstream_) {
        if (!answers.empty() && !co_await give(std::exchange(answers, {}))) co_return end();
        co_await until_connected();
        if (ended_) co_return;
      }
      if (piece.first) {
        if (auto noted = pending_.sent(piece, options_); !noted)
          co_return co_await refuse_session(sqlstate::kProtocolViolation, noted.error().message());
      }
      up_in_message_ = !piece.last;
      out.add(piece.bytes);
    }
    if (ended_) co_return;
    if (answers.empty()) co_return co_await send(out.bytes());
    const std::string bytes(out.bytes());
    if (!co_await give(std::move(answers))) co_return end();
    co_await send(bytes);
  }

  // Nothing of it is used after the first suspension.
  Awaitable<void> send(std::string_view bytes) {
    const auto stream = upstream_;
    if (bytes.empty() || !stream) co_return;
    const bool sent = (co_await stream->write(bytes_of(bytes))).has_value();
    if (!sent && stream == upstream_ && !ended_) co_await lose();
  }

  Awaitable<void> until_connected() {
    wants_upstream_ = true;
    while (!ended_ && !upstream_) {
      down_wake_.cancel();
      up_wake_.expires_at(asio::steady_timer::time_point::max());
      co_await up_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    wants_upstream_ = false;
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
        if (!lost_.active() && (wants_upstream_ || shadow_.listening())) {
          const bool due = wants_upstream_ || co_await wait_for_spread(down_wake_);
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
    }
  }

  Awaitable<void> take_from_server(std::string_view input) {
    const auto stream = upstream_;
    Outgoing out(input);
    bool server_ends = false;
    Status taken;
    for (;;) {
      const auto next = server_.next(input);
      if (!next) taken = fail(next.error());
      if (!taken || !*next) break;
      const Piece& piece = **next;
      if (piece.first && is_fatal(piece)) server_ends = true;
      if (server_ends) continue;  // the application's session doesn't end with this one
      if (piece.first) taken = take_message(piece);
      if (!taken) break;
      down_in_message_ = !piece.last;
      out.add(piece.bytes);
    }
    const bool given = co_await give_view(out.bytes());
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

  Status take_message(const Piece& piece) {
    if (piece.is(ServerMessage::kParameterStatus)) {
      const auto parameter = pg::parse_parameter_status(piece.body());
      if (!parameter) return fail(parameter.error());
      told_[std::string(parameter->name)] = parameter->value;
      take_options();
    }
    return pending_.received(piece);
  }

  // What the texts of statements mean.
  void take_options() {
    const auto value = [this](const char* name) {
      const auto found = told_.find(name);
      return found == told_.end() ? std::string_view() : std::string_view(found->second);
    };
    options_.standard_conforming_strings = value("standard_conforming_strings") != "off";
    options_.encoding = pg::sql_encoding(value("client_encoding"), value("server_encoding"));
  }

  // One writes at a time; what others have to say meanwhile goes behind.
  Awaitable<bool> give(std::string bytes) { co_return co_await give_view(bytes); }
  Awaitable<bool> give_view(std::string_view bytes) {
    if (bytes.empty()) co_return !given_failed_;
    if (giving_) {
      to_give_ += bytes;
      while (giving_) {
        given_.expires_at(asio::steady_timer::time_point::max());
        co_await given_.async_wait(asio::as_tuple(asio::use_awaitable));
      }
      co_return !given_failed_;
    }
    giving_ = true;
    bool given = (co_await application_.stream->write(bytes_of(bytes))).has_value();
    while (given && !to_give_.empty()) {
      const std::string more = std::exchange(to_give_, {});
      given = (co_await application_.stream->write(bytes_of(more))).has_value();
    }
    giving_ = false;
    if (!given) given_failed_ = true;
    given_.cancel();
    co_return given;
  }

  // --- From one server to the next. ---

  // The connection is gone, or stale. Nothing more is sent on it; what was under way is answered.
  Awaitable<void> lose() {
    if (!upstream_) co_return;
    const bool stale = upstream_->stale();
    const std::string_view how = stale ? "cloned" : "upstream failed";
    if (stale) ++host().counts.fenced;
    upstream_->reset();
    upstream_ = nullptr;
    host().postgres->set_target(own_.process, std::nullopt);
    // Half a message can be neither taken back nor finished.
    if (down_in_message_) {
      ends(how);
      co_return end();
    }
    const Refusal refusal = why_it_ends();
    if (!refusal.sqlstate.empty()) {
      ends(how);
      co_return co_await refuse_session(refusal.sqlstate, refusal.message);
    }
    std::string answers = answer_all();
    discards_ = std::exchange(up_in_message_, false);
    down_wake_.cancel();
    if (!co_await give(std::move(answers))) end();
  }

  // Whether no other connection can go on with the session.
  Refusal why_it_ends() const {
    const std::string lost = "the connection to the server was lost, as in a clone";
    for (const Request& request : pending_.requests()) {
      if (request.may_commit)
        return {std::string(sqlstate::kTransactionResolutionUnknown),
                lost + ", while a transaction was committed: whether it was is not known"};
    }
    if (pending_.copying()) return {std::string(sqlstate::kConnectionFailure), lost + ", in COPY"};
    if (pending_.began() && pending_.status() == TransactionStatus::kIdle)
      return {std::string(sqlstate::kConnectionFailure), lost + ", in the middle of a reply"};
    if (const std::string pinned = shadow_.pinned(); !pinned.empty())
      return {std::string(sqlstate::kAdminShutdown),
              lost + ", and no other can go on with what this session has: " + pinned};
    return {};
  }

  // Messages whose answers didn't come. In a transaction nothing of them was kept; outside nobody
  // knows.
  std::string answer_all() {
    std::string answers;
    TransactionStatus status = pending_.status();
    bool told = status == TransactionStatus::kFailed;
    bool open_group = false;
    bool ends = false;
    const Request* only = nullptr;  // of its group
    for (const Request& request : pending_.requests()) {
      ends = ends || (request.statement && request.type == ClientMessage::kExecute &&
                      request.statement->ends_transaction() == SqlKind::kRollback);
      only = &request;
      open_group = !request.ends_group();
      if (open_group) continue;
      const bool rolls_back = transaction_end(request.effects) == SqlKind::kRollback;
      answer_group(answers, status, told, rolls_back || ends, rolls_back);
      ends = false;
    }
    if (open_group && only != nullptr) {
      answers += loss_error(status, told);
      told = true;
      lost_.skip_to_sync();
      if (ends) status = TransactionStatus::kIdle;
    }
    shadow_.transaction_lost();
    pending_.clear(TransactionStatus::kIdle);
    if (status != TransactionStatus::kIdle) lost_.begin(told);
    return answers;
  }

  static std::string loss_error(TransactionStatus status, bool told) {
    if (status == TransactionStatus::kIdle)
      return error_message("ERROR", sqlstate::kStatementCompletionUnknown,
                           "the connection was lost, as in a clone; whether the statement was done "
                           "is not known");
    if (told)
      return error_message("ERROR", sqlstate::kInFailedTransaction,
                           "current transaction is aborted, commands ignored until end of "
                           "transaction block");
    return error_message("ERROR", sqlstate::kSerializationFailure,
                         "the transaction was lost with its connection, as in a clone; it can be "
                         "tried again");
  }

  static void answer_group(std::string& answers, TransactionStatus& status, bool& told, bool ends,
                           bool is_done) {
    const bool in_transaction = status != TransactionStatus::kIdle;
    if (in_transaction && is_done) {
      static_cast<void>(pg::append_command_complete(answers, "ROLLBACK"));
    } else {
      answers += loss_error(status, told);
    }
    told = true;
    if (in_transaction) status = ends ? TransactionStatus::kIdle : TransactionStatus::kFailed;
    pg::append_ready_for_query(answers, status);
  }

  // False if the session has ended.
  Awaitable<bool> open_session() {
    const auto until = std::chrono::steady_clock::now() + host().config.hold;
    Backoff backoff(kFirstPause, kLongestPause);
    const auto replay = shadow_.replay();
    if (!replay) {
      co_await refuse_session("XX000", replay.error().message());
      co_return false;
    }
    for (;;) {
      CancelTarget target{.opened = cs_stamp{}};
      if (cs_generation(&*target.opened) != 0) target.opened.reset();
      auto connected = co_await connect(&target.peer);
      if (ended_) co_return false;
      if (!connected) {
        co_await refuse_session(sqlstate::kConnectionFailure, "no upstream can be reached");
        co_return false;
      }
      connecting_ = std::move(*connected);
      auto backend = co_await log_in_within_limit(*replay);
      const auto stream = std::exchange(connecting_, nullptr);
      if (ended_) co_return false;
      if (backend) {
        if (is_local(target.peer.endpoint)) target.opened.reset();
        co_return co_await take_over(std::move(*backend), std::move(target));
      }
      const bool stale = stream->stale();
      stream->close();
      // A clone's own first attempt is at once.
      if (stale) continue;
      const auto pause = backoff.next();
      if (!passes(backend.error().sqlstate) || std::chrono::steady_clock::now() + pause >= until) {
        ++host().counts.failed;
        spdlog::warn("{}: the upstream refuses {}: {}", host().config.name, to_text(client().from),
                     backend.error().message);
        ends("upstream failed");
        co_await refuse_session(backend.error().sqlstate, backend.error().message);
        co_return false;
      }
      asio::steady_timer timer = host().loop.timer();
      timer.expires_after(pause);
      co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
      if (ended_) co_return false;
    }
  }

  Awaitable<Answer<Backend>> log_in_within_limit(const Shadow::Replay& replay) {
    asio::steady_timer limit = host().loop.timer();
    limit.expires_after(host().config.upstream.connect_timeout);
    limit.async_wait([stream = connecting_](const boost::system::error_code& error) {
      if (!error) stream->reset();
    });
    co_return co_await log_in(host(), connecting_, application_, replay);
  }

  Awaitable<bool> take_over(Backend backend, CancelTarget target) {
    target.process = backend.process;
    target.key = backend.key;
    host().postgres->set_target(own_.process, std::move(target));
    std::string news;
    if (!welcomed_) pg::append_authentication_ok(news);
    for (const auto& [name, value] : backend.parameters) {
      std::string& told = told_[name];
      if (welcomed_ && told == value) continue;
      told = value;
      const pg::Parameter parameter{.name = name, .value = value};
      static_cast<void>(pg::append_parameter_status(news, parameter));
    }
    take_options();
    if (welcomed_) {
      ++host().counts.reopened;
    } else {
      const pg::BackendKeyData key{.process = own_.process, .key = own_.key};
      static_cast<void>(pg::append_backend_key_data(news, key));
      pg::append_ready_for_query(news, TransactionStatus::kIdle);
      welcomed_ = true;
    }
    server_ = std::move(backend.framer);
    from_server_ = std::move(backend.rest);
    if (!co_await give(std::move(news))) {
      end();
      co_return false;
    }
    if (ended_) co_return false;
    upstream_ = std::move(backend.stream);
    up_wake_.cancel();
    co_return true;
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
    up_wake_.cancel();
    down_wake_.cancel();
  }

  Admission admission_;
  Application application_;
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
  bool discards_ = false;  // the rest of a message of the application
  bool up_in_message_ = false, down_in_message_ = false;

  asio::steady_timer up_wake_, down_wake_, given_;
  bool giving_ = false, given_failed_ = false;
  std::string to_give_;
  bool ended_ = false;
  bool wants_upstream_ = false;
  bool welcomed_ = false;
};

}  // namespace

Awaitable<void> serve(SessionHost& host, std::unique_ptr<Stream> application, Client client) {
  PostgresSession session(host, std::move(application), std::move(client));
  co_await session.run();
}

}  // namespace clonesafe::proxy::postgres
