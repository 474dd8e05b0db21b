#include "proxy/protocols/postgres/read_only_retry.h"

#include <utility>

#include "proxy/wire/postgres/client_messages.h"

namespace clonesafe::proxy::postgres {
namespace {

using wire::postgres::Piece;
using wire::postgres::SqlAccess;
using wire::postgres::SqlScript;

bool begins_read_only(std::string_view text, const SqlOptions& options) {
  SqlScript script(text, options);
  const auto statement = script.next();
  return statement && statement->kind == SqlKind::kBegin &&
         statement->access == SqlAccess::kReadOnly && !script.next();
}

bool only_reads(std::string_view text, const SqlOptions& options) {
  SqlScript script(text, options);
  while (const auto statement = script.next()) {
    if (statement->kind != SqlKind::kSelect || statement->hints != 0) return false;
  }
  return true;
}

bool can_be_repeated(const Piece& piece, const Pending& pending, const SqlOptions& options) {
  switch (static_cast<ClientMessage>(piece.type)) {
    case ClientMessage::kQuery:
      return piece.whole() && only_reads(Pending::text_of(piece), options);
    case ClientMessage::kParse:
    case ClientMessage::kBind: {
      const auto& statement = pending.last().statement;
      return statement && statement->kept && only_reads(statement->query, options);
    }
    case ClientMessage::kDescribe:
    case ClientMessage::kExecute:
    case ClientMessage::kSync:
    case ClientMessage::kFlush:
      return true;
    default:
      return false;
  }
}

}  // namespace

void ReadOnlyRetry::sent(const Piece& piece, const Pending& pending, const SqlOptions& options,
                         bool at_rest) {
  if (at_rest && piece.is(ClientMessage::kQuery)) {
    state_ = State::kNone;
    if (!piece.whole() || !begins_read_only(Pending::text_of(piece), options)) return;
    state_ = State::kBeginning;
    repeated_ = false;
    begin_ = piece.bytes;
    messages_.clear();
    return;
  }
  if (state_ == State::kNone) return;
  if (state_ == State::kBeginning || messages_.size() + piece.bytes.size() > kMaxBytes ||
      (piece.first && !can_be_repeated(piece, pending, options)))
    return give_up();
  messages_ += piece.bytes;
}

void ReadOnlyRetry::ready(TransactionStatus status) {
  const bool begun = state_ == State::kBeginning && status == TransactionStatus::kOpen;
  state_ = begun ? State::kOpen : State::kNone;
}

bool ReadOnlyRetry::lost(const Pending& pending, bool stale) {
  begins_again_ = false;
  if (state_ != State::kOpen || pending.began()) {
    give_up();
    return false;
  }
  const bool repeated = std::exchange(repeated_, !stale);
  begins_again_ = stale || !repeated;
  return begins_again_;
}

Result<Replay> ReadOnlyRetry::put_behind(Result<Replay> replay) const {
  if (!replay || !begins_again_) return replay;
  replay->messages += begin_;
  ++replay->ready_count;
  return replay;
}

}  // namespace clonesafe::proxy::postgres
