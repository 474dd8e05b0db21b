#include "proxy/protocols/postgres/lost_transaction.h"

#include "proxy/protocols/postgres/pending.h"
#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/server_messages.h"

namespace clonesafe::proxy::postgres {
namespace {

using wire::postgres::Piece;
using wire::postgres::Target;

void append_parameter_description(std::string& out) {
  // Of no parameters.
  out += std::string_view("t\0\0\0\6\0\0", 7);
}

}  // namespace

// As a server: the first tells what happened, all others that the transaction has failed.
void LostTransaction::error(std::string& out) {
  if (told_ || !active_) {
    out += error_message("ERROR", sqlstate::kInFailedTransaction,
                         "current transaction is aborted, commands ignored until end of "
                         "transaction block");
  } else {
    out += error_message("ERROR", sqlstate::kSerializationFailure,
                         "the transaction was lost with its connection, as in a clone; it can be "
                         "tried again");
  }
  told_ = true;
}

void LostTransaction::ready(std::string& out) const {
  wire::postgres::append_ready_for_query(
      out, active_ ? TransactionStatus::kFailed : TransactionStatus::kIdle);
}

// A COMMIT of which the application expects that it commits fails, and ends the transaction.
void LostTransaction::end_of(SqlKind kind, std::string& out) {
  if (kind == SqlKind::kCommit && !told_) {
    error(out);
  } else {
    static_cast<void>(wire::postgres::append_command_complete(out, "ROLLBACK"));
  }
  active_ = false;
  portals_.clear();
}

void LostTransaction::query(const Piece& piece, const SqlOptions& options, std::string& out) {
  const Effects effects = effects_of(Pending::text_of(piece), options);
  const auto end = piece.whole() ? transaction_end(effects.list) : std::nullopt;
  if (end && active_) {
    end_of(*end, out);
  } else {
    error(out);
  }
  ready(out);
}

bool LostTransaction::execute(const Piece& piece, std::string& out) {
  const auto execute = wire::postgres::parse_execute(piece.body());
  if (!execute) return false;
  const auto portal = portals_.find(std::string(execute->portal));
  if (portal == portals_.end()) return false;
  const SqlKind kind = *portal->second->ends_transaction();
  const bool fails = kind == SqlKind::kCommit && !told_;
  end_of(kind, out);
  if (fails) {
    skipping_ = true;
  } else {
    sync_is_ours_ = true;
  }
  return true;
}

// Statements that end a transaction are the only ones that a server takes in one that has failed.
bool LostTransaction::extended(const Piece& piece, const SqlOptions& options, std::string& out) {
  if (!active_) return false;
  if (piece.is(ClientMessage::kParse)) {
    std::string name;
    auto statement = Pending::statement_of(piece, options, name);
    if (!statement || !(*statement)->ends_transaction()) return false;
    shadow_.prepared(name, *statement);
    wire::postgres::append_empty(out, ServerMessage::kParseComplete);
    return true;
  }
  if (piece.is(ClientMessage::kBind)) {
    const auto names = wire::postgres::parse_bind_names(piece.body());
    if (!names) return false;
    auto statement = shadow_.statement(std::string(names->statement));
    if (!statement || !statement->ends_transaction()) return false;
    portals_[std::string(names->portal)] = std::move(statement);
    wire::postgres::append_empty(out, ServerMessage::kBindComplete);
    return true;
  }
  if (piece.is(ClientMessage::kDescribe)) {
    const auto target = wire::postgres::parse_describe(piece.body());
    if (!target) return false;
    const bool is_statement = target->kind == Target::Kind::kStatement;
    const std::string name(target->name);
    const auto statement = is_statement ? shadow_.statement(name) : nullptr;
    if (is_statement ? !statement || !statement->ends_transaction() : !portals_.contains(name))
      return false;
    if (is_statement) append_parameter_description(out);
    wire::postgres::append_empty(out, ServerMessage::kNoData);
    return true;
  }
  if (piece.is(ClientMessage::kExecute)) return execute(piece, out);
  if (piece.is(ClientMessage::kClose)) {
    const auto target = wire::postgres::parse_close(piece.body());
    if (!target) return false;
    if (target->kind == Target::Kind::kStatement) {
      shadow_.closed(std::string(target->name));
    } else {
      portals_.erase(std::string(target->name));
    }
    wire::postgres::append_empty(out, ServerMessage::kCloseComplete);
    return true;
  }
  return false;
}

std::string LostTransaction::refuse(const Piece& piece, const Refusal& refusal) {
  std::string out;
  switch (static_cast<ClientMessage>(piece.type)) {
    case ClientMessage::kSync:
      ready(out);
      break;
    case ClientMessage::kQuery:
    case ClientMessage::kFunctionCall:
      out = error_message("ERROR", refusal.sqlstate, refusal.message);
      ready(out);
      break;
    default:
      out = error_message("ERROR", refusal.sqlstate, refusal.message);
      skipping_ = true;
  }
  return out;
}

std::string LostTransaction::take(const Piece& piece, const SqlOptions& options) {
  std::string out;
  switch (static_cast<ClientMessage>(piece.type)) {
    case ClientMessage::kSync:
      skipping_ = sync_is_ours_ = false;
      ready(out);
      break;
    case ClientMessage::kCopyData:
    case ClientMessage::kCopyDone:
    case ClientMessage::kCopyFail:
    case ClientMessage::kFlush:
      break;
    case ClientMessage::kQuery:
      if (!skipping_) query(piece, options, out);
      break;
    case ClientMessage::kFunctionCall:
      if (skipping_) break;
      error(out);
      ready(out);
      break;
    default:
      if (skipping_ || extended(piece, options, out)) break;
      error(out);
      skipping_ = true;
  }
  return out;
}

}  // namespace clonesafe::proxy::postgres
