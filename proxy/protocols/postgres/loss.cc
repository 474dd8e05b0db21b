#include "proxy/protocols/postgres/loss.h"

#include <utility>

#include "proxy/wire/postgres/server_messages.h"

namespace clonesafe::proxy::postgres {
namespace {

namespace pg = wire::postgres;

std::string loss_error(TransactionStatus status, bool told) {
  if (status == TransactionStatus::kIdle)
    return error_message("ERROR", sqlstate::kStatementCompletionUnknown,
                         "the connection was lost, as in a clone; whether the statement was done "
                         "is not known");
  if (told)
    return error_message("ERROR", sqlstate::kInFailedTransaction,
                         "current transaction is aborted, commands ignored until end of "
                         "transaction block");
  return error_message("ERROR", sqlstate::kSerializationFailure,
                       "the transaction was lost with its connection, as in a clone; it can be "
                       "tried again");
}

void answer_group(std::string& answers, TransactionStatus& status, bool& told, bool ends,
                  bool is_done) {
  const bool in_transaction = status != TransactionStatus::kIdle;
  if (in_transaction && is_done) {
    static_cast<void>(pg::append_command_complete(answers, "ROLLBACK"));
  } else {
    answers += loss_error(status, told);
  }
  told = true;
  if (in_transaction) status = ends ? TransactionStatus::kIdle : TransactionStatus::kFailed;
  pg::append_ready_for_query(answers, status);
}

}  // namespace

Refusal why_it_ends(const Pending& pending, const Shadow& shadow) {
  const std::string lost = "the connection to the server was lost, as in a clone";
  for (const Request& request : pending.requests()) {
    if (request.may_commit)
      return {std::string(sqlstate::kTransactionResolutionUnknown),
              lost + ", while a transaction was committed: whether it was is not known"};
  }
  if (pending.copying()) return {std::string(sqlstate::kConnectionFailure), lost + ", in COPY"};
  if (pending.began() && pending.status() == TransactionStatus::kIdle)
    return {std::string(sqlstate::kConnectionFailure), lost + ", in the middle of a reply"};
  if (const std::string pinned = shadow.pinned(); !pinned.empty())
    return {std::string(sqlstate::kAdminShutdown),
            lost + ", and no other can go on with what this session has: " + pinned};
  return {};
}

std::string answer_all(Pending& pending, Shadow& shadow, LostTransaction& lost_transaction) {
  std::string answers;
  TransactionStatus status = pending.status();
  bool has_error = pending.has_failed();  // the group in front
  bool told = has_error || status == TransactionStatus::kFailed;
  bool open_group = false;
  bool ends = false;
  const Request* only = nullptr;  // of its group
  for (const Request& request : pending.requests()) {
    if (request.ours) continue;
    ends = ends || (request.statement && request.type == ClientMessage::kExecute &&
                    request.statement->ends_transaction() == SqlKind::kRollback);
    only = &request;
    open_group = !request.ends_group();
    if (open_group) continue;
    if (std::exchange(has_error, false)) {
      status = TransactionStatus::kFailed;
      pg::append_ready_for_query(answers, status);
      continue;
    }
    const bool rolls_back = transaction_end(request.effects) == SqlKind::kRollback;
    answer_group(answers, status, told, rolls_back || ends, rolls_back);
    ends = false;
  }
  if (open_group && only != nullptr) {
    answers += loss_error(status, told);
    told = true;
    lost_transaction.skip_to_sync();
    if (ends) status = TransactionStatus::kIdle;
  } else if (has_error) {
    lost_transaction.skip_to_sync();
  }
  shadow.transaction_lost();
  pending.clear(TransactionStatus::kIdle);
  if (status != TransactionStatus::kIdle) lost_transaction.begin(told);
  return answers;
}

}  // namespace clonesafe::proxy::postgres
