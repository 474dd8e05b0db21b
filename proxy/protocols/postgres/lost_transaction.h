#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_LOST_TRANSACTION_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_LOST_TRANSACTION_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/protocols/postgres/conversation.h"
#include "proxy/protocols/postgres/shadow.h"

namespace clonesafe::proxy::postgres {

// Answers in a server's place while the application is in a transaction whose server is gone, as a
// server does in one that has failed: with errors until the application ends it. Also leaves out
// messages of a group that was answered with an error, up to its Sync. Not thread-safe.
class LostTransaction {
 public:
  explicit LostTransaction(Shadow& shadow) : shadow_(shadow) {}

  // The transaction of a session is lost; `told` if the application has an error of it already.
  void begin(bool told) {
    active_ = true;
    told_ = told;
    portals_.clear();
  }
  // An error was given to a message of the extended query whose Sync is still to come.
  void skip_to_sync() { skipping_ = true; }

  // The application's next message is not for a server.
  bool takes_messages() const { return active_ || skipping_ || sync_is_ours_; }
  bool active() const { return active_; }

  // Takes the first piece of a message; what it gives is for the application.
  std::string take(const wire::postgres::Piece& piece, const SqlOptions& options);
  // The same of one that no server gets, outside a transaction, for the reason given.
  std::string refuse(const wire::postgres::Piece& piece, const Refusal& refusal);

 private:
  void error(std::string& out);
  void ready(std::string& out) const;
  void end_of(SqlKind kind, std::string& out);
  void query(const wire::postgres::Piece& piece, const SqlOptions& options, std::string& out);
  bool extended(const wire::postgres::Piece& piece, const SqlOptions& options, std::string& out);
  bool execute(const wire::postgres::Piece& piece, std::string& out);

  Shadow& shadow_;
  bool active_ = false;
  bool told_ = false;
  bool skipping_ = false;
  bool sync_is_ours_ = false;  // the transaction has ended in a group whose Sync is to come
  std::map<std::string, std::shared_ptr<const Statement>> portals_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_LOST_TRANSACTION_H_
