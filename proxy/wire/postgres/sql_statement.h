#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_SQL_STATEMENT_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_SQL_STATEMENT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "proxy/wire/postgres/sql_lexer.h"

namespace clonesafe::wire::postgres {

// What a statement does to its session, by its own words. A function that it calls can do more;
// where a word tells of one, SqlHint does.
enum class SqlKind : std::uint8_t {
  kUnknown,                  // anything: DO, CALL, words that aren't known, what is in doubt
  kOther,                    // nothing
  kSelect,                   // SELECT, VALUES, TABLE, WITH: maybe nothing, maybe it writes
  kBegin,                    // BEGIN, START TRANSACTION: `access`
  kCommit,                   // COMMIT, END: `chain`
  kRollback,                 // ROLLBACK, ABORT: `chain`
  kPrepareTransaction,       // ends the transaction
  kFinishPrepared,           // COMMIT PREPARED, ROLLBACK PREPARED: no transaction of this session
  kSavepoint,                // `name`
  kRelease,                  // `name`
  kRollbackTo,               // `name`
  kSet,                      // `name`, `local`; also TIME ZONE, NAMES, SCHEMA, XML OPTION
  kSetTransaction,           // `access`, or a snapshot
  kSetCharacteristics,       // SET SESSION CHARACTERISTICS AS TRANSACTION: `access`
  kSetRole,                  // `local`
  kSetSessionAuthorization,  // `local`
  kReset,                    // `name`; also SET name TO DEFAULT
  kResetAll,
  kPrepare,     // `name`
  kExecute,     // `name`; what it does is in the prepared statement
  kDeallocate,  // `name`
  kDeallocateAll,
  kListen,    // `name`
  kUnlisten,  // `name`
  kUnlistenAll,
  kDiscard,            // `name`: all, plans, sequences or temp
  kDeclareCursor,      // `name`
  kDeclareHeldCursor,  // `name`; WITH HOLD outlives its transaction
  kCloseCursor,        // `name`, empty for ALL
  kCreateTemporary,
  kCopy,
  kLoad,
};

// Words in a statement, wherever they are: a sign, not a proof.
enum class SqlHint : std::uint8_t {
  kAdvisoryLock = 1 << 0,  // pg_advisory_..., pg_try_advisory_...
  kSetConfig = 1 << 1,     // set_config
  kSequence = 1 << 2,      // nextval, setval, currval, lastval
  kTemporary = 1 << 3,     // pg_temp..., INTO TEMP
};

enum class SqlAccess : std::uint8_t { kUnspecified, kReadOnly, kReadWrite, kUnknown };

struct SqlStatement {
  SqlKind kind = SqlKind::kUnknown;
  std::string_view text;  // in the text given: without its ';', space and comments around it
  std::string name;       // as the server folds and cuts it; of settings all in small letters
  SqlAccess access = SqlAccess::kUnspecified;
  bool local = false;      // SET LOCAL: until the transaction's end
  bool chain = false;      // AND CHAIN: another transaction begins at once
  std::uint8_t hints = 0;  // of SqlHint

  bool has(SqlHint hint) const { return (hints & static_cast<std::uint8_t>(hint)) != 0; }
};

// What a statement is by its first tokens. `all` says that there are no more than these.
// Gives kind, name, access, local and chain.
SqlStatement classify_sql(std::span<const SqlToken> tokens, bool all,
                          SqlOptions::Encoding encoding);

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_SQL_STATEMENT_H_
