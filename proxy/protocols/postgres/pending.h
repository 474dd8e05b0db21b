#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_PENDING_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_PENDING_H_

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "proxy/protocols/postgres/conversation.h"
#include "proxy/protocols/postgres/shadow.h"

namespace clonesafe::proxy::postgres {

// A message whose answer the application waits for.
struct Request {
  ClientMessage type = ClientMessage::kSync;
  std::string name;                            // Parse; Close of a statement
  std::shared_ptr<const Statement> statement;  // Parse, Execute
  std::vector<Effect> effects;                 // Query
  bool may_commit = false;

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
  // Messages that may be under way at once.
  static constexpr std::size_t kMaxRequests = 65'536;

  explicit Pending(Shadow& shadow) : shadow_(shadow) {}

  // The first piece of a message that is sent to the server.
  Status sent(const wire::postgres::Piece& piece, const SqlOptions& options);
  // The first piece of a server's message.
  Status received(const wire::postgres::Piece& piece);

  // No answer is to come.
  bool idle() const { return requests_.empty() && !copying_; }
  TransactionStatus status() const { return status_; }
  // A part of the answer to the first message went to the application.
  bool began() const { return began_; }
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
  Status answered(ClientMessage expected, const wire::postgres::Piece& piece);
  void command_complete(std::string_view tag);
  Status ready(std::string_view body);
  std::shared_ptr<const Statement> find(const std::string& name) const;

  Shadow& shadow_;
  std::deque<Request> requests_;
  TransactionStatus status_ = TransactionStatus::kIdle;
  bool began_ = false;
  bool copying_ = false;
  std::size_t completed_ = 0;  // statements of the Query in front
  std::map<std::string, std::shared_ptr<const Statement>> parsing_;  // not confirmed yet
  std::map<std::string, std::shared_ptr<const Statement>> portals_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_PENDING_H_
