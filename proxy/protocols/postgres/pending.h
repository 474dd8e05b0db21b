#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_PENDING_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_PENDING_H_

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "proxy/protocols/postgres/conversation.h"
#include "proxy/protocols/postgres/server_statements.h"
#include "proxy/protocols/postgres/shadow.h"

namespace clonesafe::proxy::postgres {

// A message whose answer the application waits for.
struct Request {
  ClientMessage type = ClientMessage::kSync;
  std::string name;                            // Parse; Close of a statement
  std::shared_ptr<const Statement> statement;  // Parse, Bind, Describe, Execute
  std::vector<Effect> effects;                 // Query
  bool may_commit = false;
  bool ours = false;     // the proxy's own: its answer is not for the application
  bool ignored = false;  // perhaps: a Sync that the server may have read among the data of a COPY

  // The server answers it with ReadyForQuery.
  bool ends_group() const {
    return type == ClientMessage::kQuery || type == ClientMessage::kSync ||
           type == ClientMessage::kFunctionCall;
  }
};

// Follows both directions of a session: which messages are under way, and what the server confirms.
// Not thread-safe.
class Pending {
 public:
  // So many messages without an answer are enough for now. A server has less in hand when it waits
  // for more: it sends when 8 KiB are full (PQ_SEND_BUFFER_SIZE), and no answer is below 5 bytes.
  static constexpr std::size_t kCrowd = 8'192;

  explicit Pending(Shadow& shadow) : shadow_(shadow) {}

  // An error was given to the extended query, and the server leaves out what is not the Sync.
  bool leaves_out(const wire::postgres::Piece& piece) const {
    return skipping_ && !piece.is(ClientMessage::kSync);
  }
  bool crowded() const { return requests_.size() >= kCrowd; }
  // The first piece of a message that is sent to the server.
  Status sent(const wire::postgres::Piece& piece, const SqlOptions& options);
  // The first piece of a server's message; false if it is not for the application.
  Result<bool> received(const wire::postgres::Piece& piece);

  // What a connection has that sessions share; null for one of the session's own. It is told of
  // what the server confirms.
  void share(ServerStatements* server) { server_ = server; }
  // What was sent last.
  const Request& last() const { return requests_.back(); }
  // One of the proxy's own is sent in front of that: a Parse or Close of a statement, or a Sync in
  // front of a Query.
  void put_in_front(Request request) { requests_.insert(requests_.end() - 1, std::move(request)); }

  // No answer is to come.
  bool idle() const { return requests_.empty() && !copying_; }
  // The same, nor does the server wait for a Sync, and there is no transaction.
  bool at_rest() const { return idle() && !group_is_open_ && status_ == TransactionStatus::kIdle; }
  TransactionStatus status() const { return status_; }
  // A ReadyForQuery may come that nothing is known to be asked for by.
  bool in_doubt() const { return spare_ready_ != 0; }
  // A part of the answer to the first message went to the application.
  bool began() const { return began_; }
  // The first group has had its error; what is missing is its ReadyForQuery.
  bool has_failed() const { return has_failed_; }
  bool copying() const { return copying_; }
  const std::deque<Request>& requests() const { return requests_; }
  std::shared_ptr<const Statement> statement_of_portal(const std::string& portal) const;
  // Their server is gone.
  void clear(TransactionStatus status);

  // What a Parse makes.
  static Result<std::shared_ptr<const Statement>> statement_of(const wire::postgres::Piece& piece,
                                                               const SqlOptions& options,
                                                               std::string& name);
  // The text of a Query, as far as it is there.
  static std::string_view text_of(const wire::postgres::Piece& piece);

 private:
  Status sent_parse(const wire::postgres::Piece& piece, const SqlOptions& options);
  Result<bool> answered(ClientMessage expected, const wire::postgres::Piece& piece);
  void command_complete(std::string_view tag);
  void end_copy_to_server();
  void forget_ignored();
  bool end_group();
  void failed();
  void leave_out(const Request& request);
  Result<bool> ready(std::string_view body);
  bool group_is_ours() const;
  std::shared_ptr<const Statement> find(const std::string& name) const;

  Shadow& shadow_;
  ServerStatements* server_ = nullptr;
  std::deque<Request> requests_;
  TransactionStatus status_ = TransactionStatus::kIdle;
  bool group_is_open_ = false;  // its Sync was not answered yet
  bool began_ = false;
  bool has_failed_ = false;
  bool skipping_ = false;  // and its Sync was not sent yet
  bool copying_ = false;
  bool copy_takes_all_ = false;  // to the server, which takes no notice of Sync meanwhile
  std::size_t spare_ready_ = 0;  // for Syncs that were perhaps not ignored
  std::size_t completed_ = 0;    // statements of the Query in front
  std::map<std::string, std::shared_ptr<const Statement>> parsing_;  // not confirmed yet
  std::map<std::string, std::shared_ptr<const Statement>> portals_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_PENDING_H_
