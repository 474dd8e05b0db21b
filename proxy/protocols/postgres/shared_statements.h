#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SHARED_STATEMENTS_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SHARED_STATEMENTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/core/outgoing.h"
#include "proxy/protocols/postgres/pending.h"
#include "proxy/protocols/postgres/server_statements.h"
#include "proxy/protocols/postgres/shadow.h"

namespace clonesafe::proxy::postgres {

// Statements that the protocol prepares, on connections that sessions share: each has there a name
// that is made of its text and of what that text means, so that whoever prepares the same finds it.
// What a connection lacks is prepared in front of the message that uses it. The application sees
// its own names only. Not thread-safe.
class SharedStatements {
 public:
  SharedStatements(Pending& pending, const Shadow& shadow) : pending_(pending), shadow_(shadow) {}

  // A number that no other session has at the same time.
  void begin(std::uint32_t session) { session_ = session; }
  // The first piece of a message, of which `pending` knows by now: adds to `out` what the server
  // gets in its place.
  Status add(const wire::postgres::Piece& piece, ServerStatements& server, Outgoing& out);

 private:
  using StatementPointer = std::shared_ptr<const Statement>;
  bool is_shared(const StatementPointer& statement, std::string_view name) const;
  const std::string& name_of(const Statement& statement);
  Status parse(const wire::postgres::Piece& piece, ServerStatements& server, Outgoing& out);
  Status bind(const wire::postgres::Piece& piece, ServerStatements& server, Outgoing& out);
  Status describe(const wire::postgres::Piece& piece, ServerStatements& server, Outgoing& out);
  Status have(const StatementPointer& statement, std::string_view name, ServerStatements& server,
              Outgoing& out);
  Status query(const wire::postgres::Piece& piece, ServerStatements& server, Outgoing& out);
  Status close(const std::string& name, Outgoing& out);
  Status make_room(ServerStatements& server, Outgoing& out);

  Pending& pending_;
  const Shadow& shadow_;
  std::uint32_t session_ = 0;
  std::uint64_t apart_count_ = 0;  // statements that are no other's
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SHARED_STATEMENTS_H_
