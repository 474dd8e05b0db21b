#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_STATEMENT_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_STATEMENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/sql_script.h"

namespace clonesafe::proxy::postgres {

using wire::postgres::SqlHint;
using wire::postgres::SqlKind;
using wire::postgres::SqlOptions;

// What a statement does to its session once the server has confirmed it.
struct Effect {
  SqlKind kind = SqlKind::kOther;
  std::string name;
  std::string text;  // of what is said again to another connection
  bool local = false;
  bool chain = false;
  bool locks = false;      // advisory locks that outlive the transaction
  bool sets = false;       // set_config()
  bool sequences = false;  // currval(), lastval(): what the session drew before
  bool temporary = false;  // a table of the session's own
};

// The statements of a text, in order; empty if none of them does anything to the session.
struct Effects {
  std::vector<Effect> list;
  bool may_commit = false;  // after it, what was done before it may be there for good
};
Effects effects_of(std::string_view text, const SqlOptions& options);

// A prepared statement, as the application made it.
struct Statement {
  std::string query;
  std::string types;
  std::uint16_t type_count = 0;
  bool by_sql = false;  // PREPARE: `query` is that
  bool kept = true;     // its text is there whole
  std::vector<Effect> effects;
  bool may_commit = false;
  // On connections that several sessions share; made at its first use.
  mutable std::string shared_name;

  // It does nothing but end a transaction.
  std::optional<SqlKind> ends_transaction() const;
};

// The same of a text's statements.
std::optional<SqlKind> transaction_end(const std::vector<Effect>& effects);

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_STATEMENT_H_
