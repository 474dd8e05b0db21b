#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_POSTGRES_SESSION_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_POSTGRES_SESSION_H_

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "proxy/core/outgoing.h"
#include "proxy/protocols/postgres/admission.h"
#include "proxy/protocols/postgres/application_output.h"
#include "proxy/protocols/postgres/borrower.h"
#include "proxy/protocols/postgres/lost_transaction.h"
#include "proxy/protocols/postgres/pending.h"
#include "proxy/protocols/postgres/read_only_retry.h"
#include "proxy/protocols/postgres/server_opener.h"
#include "proxy/protocols/postgres/shared_statements.h"
#include "proxy/protocols/postgres/told.h"
#include "proxy/session/session.h"

namespace clonesafe::proxy::postgres {

// One application's session: postgres.cc has its begin and its end, traffic.cc what passes in
// either direction, changeover.cc how it gets from one server to the next.
class PostgresSession final : public Session {
 public:
  PostgresSession(SessionHost& host, std::unique_ptr<Stream> application, Client client)
      : Session(host, std::move(client)),
        admission_(host, std::move(application), this->client()),
        output_(host.loop),
        told_(shadow_),
        pending_(shadow_),
        lost_(shadow_),
        statements_(pending_, shadow_),
        opener_(host, application_,
                [this](Upstream::Peer& peer) { return connect_for_opener(peer); }),
        borrower_(host, opener_, shadow_, retry_),
        up_wake_(host.loop.timer()),
        down_wake_(host.loop.timer()) {}
  ~PostgresSession() override {
    if (own_.process != 0) host().postgres->remove(own_.process);
  }

  Awaitable<void> run();
  void fenced() override;
  void reset() override;
  // What listens goes on with the next connection, and is told nothing in between.
  void park() override;

 private:
  Awaitable<bool> admit();
  Awaitable<bool> begin();

  // --- From the application. ---

  Awaitable<void> up();
  // While there is a server, nothing is waited for before all was taken.
  Awaitable<void> take_from_application(std::string_view input);
  Status add_to_server(const wire::postgres::Piece& piece, Outgoing& out);
  Status add_message(const wire::postgres::Piece& piece, Outgoing& out);
  // Nothing of it is used after the first suspension.
  Awaitable<void> send(std::string_view bytes);
  Awaitable<void> until_connected();
  // An application that asks faster than it is answered waits, as it would for the server.
  Awaitable<void> until_less_crowded();
  Awaitable<void> terminate(Outgoing& out);

  // --- From the server. ---

  Awaitable<void> down();
  Awaitable<void> take_from_server(std::string_view input);
  bool is_fatal(const wire::postgres::Piece& piece) const;
  // False if it is not for the application.
  Result<bool> take_message(const wire::postgres::Piece& piece);
  Awaitable<bool> give(std::string bytes);

  // --- From one server to the next. ---

  // The connection is gone, or stale. Nothing more is sent on it; what was under way is answered.
  Awaitable<void> lose();
  // Nothing is under way: another connection could go on from here.
  bool at_rest() const;
  void leave_server();
  // What is under way of a transaction that began again; false if the session has ended.
  Awaitable<bool> say_again(std::shared_ptr<Stream> stream, TransactionStatus status);
  Result<std::string> messages_again();
  // False if the session has ended.
  Awaitable<bool> open_session();
  // Counted and logged if there is none.
  Awaitable<Answer<std::shared_ptr<Stream>>> connect_for_opener(Upstream::Peer& peer);
  Awaitable<void> refused_by_server(const Refusal& refusal);
  Awaitable<bool> take_over(Backend& backend, std::shared_ptr<const CancelTarget> target);

  // --- Connections that sessions share. ---

  ServerPool* pool() const { return host().servers; }

  // False if the session has ended.
  Awaitable<bool> borrow();
  // The same.
  Awaitable<bool> find_none(const Refusal& refusal);
  // It was not asked for yet, so that the application can ask again.
  Awaitable<bool> find_none_free(const Refusal& refusal);
  // After a transaction, unless the session has something that others must not see, or that it
  // would miss.
  void give_back();

  // --- Its end. ---

  // The protocol's own way to say why a session ends.
  Awaitable<void> refuse_session(std::string_view sqlstate, std::string_view why);
  void end();
  void wake_all();

  Admission admission_;
  Application application_;
  ApplicationOutput output_;
  Shared::Key own_;  // of the application, to cancel with
  // Null: none now. Whoever waits for it keeps it.
  std::shared_ptr<Stream> upstream_;
  Framer server_{Framer::From::kServer};
  std::string from_server_;  // what was read at its login already

  Shadow shadow_;
  Told told_;
  Pending pending_;
  LostTransaction lost_;
  SharedStatements statements_;
  ReadOnlyRetry retry_;
  ServerOpener opener_;

  // Where connections are shared.
  Borrower borrower_;
  std::unique_ptr<ServerPool::Loan> loan_;  // `upstream_`, if there is one
  std::optional<Refusal> none_is_free_;
  bool keeps_server_ = false;

  bool discards_ = false;  // the rest of a message of the application
  bool up_in_message_ = false, down_in_message_ = false;

  bool sending_ = false;

  boost::asio::steady_timer up_wake_, down_wake_;
  bool ended_ = false;
  bool wants_upstream_ = false;
  bool lost_one_ = false;  // a server's connection
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_POSTGRES_SESSION_H_
