#include "proxy/protocols/postgres/statement.h"

#include "proxy/wire/postgres/sql_name.h"

namespace clonesafe::proxy::postgres {
namespace {

using wire::postgres::SqlStatement;

// pg_advisory_xact_lock() and its like end with their transaction.
bool locks_for_the_session(std::string_view text) {
  const std::string lower = wire::postgres::ascii_lower(text);
  for (std::size_t at = lower.find("advisory_"); at != std::string::npos;
       at = lower.find("advisory_", at + 1)) {
    if (!std::string_view(lower).substr(at).starts_with("advisory_xact_")) return true;
  }
  return false;
}

bool reads_sequences(std::string_view text) {
  const std::string lower = wire::postgres::ascii_lower(text);
  return lower.contains("currval") || lower.contains("lastval");
}

bool repeated(SqlKind kind) {
  return kind == SqlKind::kSet || kind == SqlKind::kSetCharacteristics ||
         kind == SqlKind::kSetRole || kind == SqlKind::kSetSessionAuthorization ||
         kind == SqlKind::kPrepare;
}

Effect effect_of(const SqlStatement& statement) {
  Effect effect{.kind = statement.kind,
                .name = statement.name,
                .text = repeated(statement.kind) ? std::string(statement.text) : std::string(),
                .local = statement.local,
                .chain = statement.chain};
  effect.locks = statement.has(SqlHint::kAdvisoryLock) && locks_for_the_session(statement.text);
  effect.sets = statement.has(SqlHint::kSetConfig);
  effect.sequences = statement.has(SqlHint::kSequence) && reads_sequences(statement.text);
  effect.temporary = statement.kind == SqlKind::kCreateTemporary;
  return effect;
}

bool plain(const SqlStatement& statement) {
  return (statement.kind == SqlKind::kOther || statement.kind == SqlKind::kSelect) &&
         !statement.has(SqlHint::kAdvisoryLock) && !statement.has(SqlHint::kSetConfig) &&
         !(statement.has(SqlHint::kSequence) && reads_sequences(statement.text));
}

bool commits(SqlKind kind) {
  return kind == SqlKind::kCommit || kind == SqlKind::kPrepareTransaction ||
         kind == SqlKind::kFinishPrepared;
}

}  // namespace

Effects effects_of(std::string_view text, const SqlOptions& options) {
  Effects effects;
  wire::postgres::SqlScript script(text, options);
  std::size_t skipped = 0;  // of those that do nothing, before the first that does
  while (const auto statement = script.next()) {
    if (effects.list.empty() && plain(*statement)) {
      ++skipped;
      continue;
    }
    // One for each, in step with the server's confirmations.
    if (effects.list.empty()) effects.list.resize(skipped);
    effects.list.push_back(effect_of(*statement));
    effects.may_commit = effects.may_commit || commits(statement->kind);
    // What can't be split may hold anything.
    if (statement->kind == SqlKind::kUnknown && statement->text.contains(';'))
      effects.may_commit = true;
  }
  return effects;
}

std::optional<SqlKind> transaction_end(const std::vector<Effect>& effects) {
  if (effects.size() != 1 || effects.front().chain) return std::nullopt;
  const SqlKind kind = effects.front().kind;
  if (kind != SqlKind::kCommit && kind != SqlKind::kRollback) return std::nullopt;
  return kind;
}

std::optional<SqlKind> Statement::ends_transaction() const {
  return by_sql ? std::nullopt : transaction_end(effects);
}

}  // namespace clonesafe::proxy::postgres
