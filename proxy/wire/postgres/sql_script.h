#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_SQL_SCRIPT_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_SQL_SCRIPT_H_

#include <optional>
#include <string_view>

#include "proxy/wire/postgres/sql_lexer.h"
#include "proxy/wire/postgres/sql_statement.h"

namespace clonesafe::wire::postgres {

// The statements of a Query or Parse, in order, split where the server splits them. A statement
// without a token (";;") isn't one. Goes over the text once; allocates only for long names. What
// can't be split for certain (a function with BEGIN ATOMIC, an unsafe encoding, a string without
// end, which makes the server refuse all of the text) is one statement to the text's end, unknown.
// Not thread-safe.
class SqlScript {
 public:
  SqlScript(std::string_view text, const SqlOptions& options);

  std::optional<SqlStatement> next();

 private:
  std::string_view text_;
  SqlOptions options_;
  SqlLexer lexer_;
  bool ended_ = false;
};

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_SQL_SCRIPT_H_
