#include "proxy/protocols/postgres/pending.h"

#include <algorithm>
#include <utility>

#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/server_messages.h"

namespace clonesafe::proxy::postgres {
namespace {

using wire::postgres::Piece;
using wire::postgres::Target;

const std::string kTooLong = "a statement that is too long to be looked at";

std::unexpected<Error> unasked(ServerMessage type) {
  return fail("PostgreSQL server: " + std::string(name_of(type)) + " that nobody asked for");
}

}  // namespace

std::string_view Pending::text_of(const Piece& piece) {
  const std::string_view body = piece.body();
  return body.substr(0, body.find('\0'));
}

Result<std::shared_ptr<const Statement>> Pending::statement_of(const Piece& piece,
                                                               const SqlOptions& options,
                                                               std::string& name) {
  auto statement = std::make_shared<Statement>();
  std::string_view query;
  if (piece.whole()) {
    const auto parse = wire::postgres::parse_parse(piece.body());
    if (!parse) return fail(parse.error());
    name = parse->statement;
    query = parse->query;
    statement->types = parse->types;
    statement->type_count = parse->type_count;
    statement->query = query;
  } else {
    const std::string_view body = piece.body();
    name = body.substr(0, body.find('\0'));
    statement->kept = false;
    statement->may_commit = true;
    return statement;
  }
  Effects effects = effects_of(query, options);
  statement->effects = std::move(effects.list);
  statement->may_commit = effects.may_commit;
  return statement;
}

std::shared_ptr<const Statement> Pending::find(const std::string& name) const {
  const auto parsing = parsing_.find(name);
  return parsing != parsing_.end() ? parsing->second : shadow_.statement(name);
}

std::shared_ptr<const Statement> Pending::statement_of_portal(const std::string& portal) const {
  const auto found = portals_.find(portal);
  return found == portals_.end() ? nullptr : found->second;
}

Status Pending::sent_parse(const Piece& piece, const SqlOptions& options) {
  std::string name;
  auto statement = statement_of(piece, options, name);
  if (!statement) return fail(statement.error());
  parsing_[name] = *statement;
  requests_.push_back({.type = ClientMessage::kParse, .name = name, .statement = *statement});
  return {};
}

Status Pending::sent(const Piece& piece, const SqlOptions& options) {
  const auto type = static_cast<ClientMessage>(piece.type);
  if (!asks_for_nothing(type)) group_is_open_ = true;
  switch (type) {
    case ClientMessage::kQuery: {
      Effects effects = effects_of(text_of(piece), options);
      if (!piece.whole()) {
        shadow_.pin(kTooLong);
        effects.may_commit = true;
      }
      requests_.push_back(
          {.type = type, .effects = std::move(effects.list), .may_commit = effects.may_commit});
      return {};
    }
    case ClientMessage::kParse:
      return sent_parse(piece, options);
    case ClientMessage::kBind: {
      const auto names = wire::postgres::parse_bind_names(piece.body());
      if (!names) return fail(names.error());
      auto statement = find(std::string(names->statement));
      portals_[std::string(names->portal)] = statement;
      requests_.push_back({.type = type, .statement = std::move(statement)});
      return {};
    }
    case ClientMessage::kExecute: {
      const auto execute = wire::postgres::parse_execute(piece.body());
      if (!execute) return fail(execute.error());
      auto statement = statement_of_portal(std::string(execute->portal));
      const bool may_commit = statement && statement->may_commit;
      requests_.push_back(
          {.type = type, .statement = std::move(statement), .may_commit = may_commit});
      return {};
    }
    case ClientMessage::kClose: {
      const auto target = wire::postgres::parse_close(piece.body());
      if (!target) return fail(target.error());
      // Of a portal: no name of a statement is empty here, "" is the one that each Parse replaces.
      requests_.push_back({.type = type,
                           .name = target->kind == Target::Kind::kStatement
                                       ? std::string(target->name)
                                       : std::string()});
      return {};
    }
    case ClientMessage::kDescribe: {
      const auto target = wire::postgres::parse_describe(piece.body());
      if (!target) return fail(target.error());
      requests_.push_back({.type = type,
                           .statement = target->kind == Target::Kind::kStatement
                                            ? find(std::string(target->name))
                                            : nullptr});
      return {};
    }
    case ClientMessage::kFunctionCall:
      shadow_.pin("a function that was called without SQL");
      [[fallthrough]];
    case ClientMessage::kSync:
      skipping_ = false;
      requests_.push_back({.type = type});
      return {};
    case ClientMessage::kCopyDone:
    case ClientMessage::kCopyFail:
      end_copy_to_server();
      return {};
    default:
      return {};
  }
}

// Nothing more is data. A server that has read all of it has ignored each Sync in there; one that
// failed before has perhaps not.
void Pending::end_copy_to_server() {
  if (!std::exchange(copy_takes_all_, false) || requests_.empty()) return;
  for (std::size_t i = 1; i < requests_.size(); ++i) {
    if (requests_[i].type != ClientMessage::kSync) return;
    requests_[i].ignored = true;
  }
}

void Pending::forget_ignored() {
  std::erase_if(requests_, [](const Request& request) { return request.ignored; });
}

// The answer that ends what is known of the message in front.
Result<bool> Pending::answered(ClientMessage expected, const Piece& piece) {
  spare_ready_ = 0;
  if (requests_.empty() || requests_.front().type != expected)
    return unasked(static_cast<ServerMessage>(piece.type));
  const Request& request = requests_.front();
  if (expected == ClientMessage::kParse && request.statement && server_ != nullptr) {
    if (request.name.empty()) {
      server_->parsed_unnamed(request.statement);
    } else if (!request.statement->shared_name.empty()) {
      server_->parsed(request.statement->shared_name);
    }
  }
  if (request.ours) {
    requests_.pop_front();
    return false;
  }
  began_ = true;
  if (expected == ClientMessage::kParse) {
    shadow_.prepared(request.name, request.statement);
    const auto parsing = parsing_.find(request.name);
    if (parsing != parsing_.end() && parsing->second == request.statement) parsing_.erase(parsing);
  } else if (expected == ClientMessage::kClose && !request.name.empty()) {
    shadow_.closed(request.name);
  }
  requests_.pop_front();
  return true;
}

void Pending::command_complete(std::string_view tag) {
  if (std::exchange(copying_, false)) forget_ignored();
  const Request& request = requests_.front();
  if (request.type == ClientMessage::kQuery) {
    if (completed_ < request.effects.size()) shadow_.done(request.effects[completed_], tag);
    ++completed_;
  } else if (request.type == ClientMessage::kExecute) {
    // Of a portal that is not known anything may have been done.
    if (!request.statement) {
      shadow_.pin("a portal that is not known");
    } else if (!request.statement->kept) {
      shadow_.pin(kTooLong);
    } else if (!request.statement->effects.empty()) {
      shadow_.done(request.statement->effects.front(), tag);
    }
  }
}

// After an error in a message of the extended query all up to the Sync is left out.
void Pending::failed() {
  end_copy_to_server();
  copying_ = false;
  shadow_.failed();
  if (server_ != nullptr) server_->drop_unnamed();
  if (!requests_.empty() && requests_.front().ends_group()) return;
  while (!requests_.empty() && requests_.front().type != ClientMessage::kSync) {
    leave_out(requests_.front());
    requests_.pop_front();
  }
  const auto is_ignored = [](const Request& request) { return request.ignored; };
  skipping_ = std::ranges::all_of(requests_, is_ignored) && group_is_open_;
}

void Pending::leave_out(const Request& request) {
  if (!request.statement) return;
  if (server_ != nullptr && !request.statement->shared_name.empty())
    server_->doubt(request.statement->shared_name);
  const auto parsing = parsing_.find(request.name);
  if (request.type == ClientMessage::kParse && parsing != parsing_.end() &&
      parsing->second == request.statement)
    parsing_.erase(parsing);
}

// Of what was sent by the proxy alone, its Sync included.
bool Pending::group_is_ours() const {
  for (const Request& request : requests_) {
    if (!request.ours) return false;
    if (request.ends_group()) return true;
  }
  return false;
}

// Gives whether its end is the proxy's own. After a COPY that failed its end is the Sync among the
// data or the one behind it.
bool Pending::end_group() {
  while (!requests_.empty()) {
    const bool ends = requests_.front().ends_group();
    const bool ours = requests_.front().ours;
    const bool ignored = requests_.front().ignored;
    requests_.pop_front();
    if (!ends) continue;
    if (requests_.empty()) return ours;
    const Request& next = requests_.front();
    const bool may_be_next = ignored && next.type == ClientMessage::kSync && !next.ours;
    if (!next.ignored && !may_be_next) return ours;
    ++spare_ready_;
  }
  return false;
}

Result<bool> Pending::ready(std::string_view body) {
  const auto status = wire::postgres::parse_ready_for_query(body);
  if (!status) return fail(status.error());
  // What is sent after a Sync has another answer before its ReadyForQuery.
  if (in_doubt() && (requests_.empty() || requests_.front().type != ClientMessage::kSync)) {
    --spare_ready_;
    return true;
  }
  if (requests_.empty()) return unasked(ServerMessage::kReadyForQuery);
  const bool ours = end_group();
  skipping_ = false;
  status_ = *status;
  began_ = has_failed_ = copying_ = copy_takes_all_ = false;
  completed_ = 0;
  shadow_.ready(*status);
  if (requests_.empty()) {
    group_is_open_ = false;
    parsing_.clear();
    if (*status == TransactionStatus::kIdle) portals_.clear();
  }
  return !ours;
}

Result<bool> Pending::received(const Piece& piece) {
  const auto type = static_cast<ServerMessage>(piece.type);
  switch (type) {
    // They come at any time, and are no answers.
    case ServerMessage::kNoticeResponse:
    case ServerMessage::kNotificationResponse:
    case ServerMessage::kParameterStatus:
      return true;
    case ServerMessage::kReadyForQuery:
      return ready(piece.body());
    case ServerMessage::kParseComplete:
      return answered(ClientMessage::kParse, piece);
    case ServerMessage::kCloseComplete:
      return answered(ClientMessage::kClose, piece);
    case ServerMessage::kAuthentication:
    case ServerMessage::kBackendKeyData:
    case ServerMessage::kNegotiateProtocolVersion:
      return fail("PostgreSQL server: " + std::string(name_of(type)) + " in a session");
    default:
      break;
  }
  spare_ready_ = 0;
  if (type == ServerMessage::kErrorResponse) {
    const bool ours = group_is_ours();
    began_ = began_ || !ours;
    failed();
    has_failed_ = group_is_open_ && !ours;
    return !ours;
  }
  if (requests_.empty()) return unasked(type);
  began_ = true;
  switch (type) {
    case ServerMessage::kBindComplete:
      return answered(ClientMessage::kBind, piece);
    case ServerMessage::kNoData:
      return answered(ClientMessage::kDescribe, piece);
    case ServerMessage::kRowDescription:
      if (requests_.front().type == ClientMessage::kDescribe) requests_.pop_front();
      return true;
    case ServerMessage::kCommandComplete: {
      const auto tag = wire::postgres::parse_command_complete(piece.body());
      if (!tag) return fail(tag.error());
      command_complete(*tag);
      [[fallthrough]];
    }
    case ServerMessage::kEmptyQueryResponse:
    case ServerMessage::kPortalSuspended:
      if (requests_.front().type == ClientMessage::kExecute) requests_.pop_front();
      return true;
    case ServerMessage::kCopyInResponse:
      copy_takes_all_ = true;
      [[fallthrough]];
    case ServerMessage::kCopyBothResponse:
    case ServerMessage::kCopyOutResponse:
      copying_ = true;
      return true;
    default:
      return true;
  }
}

void Pending::clear(TransactionStatus status) {
  requests_.clear();
  parsing_.clear();
  portals_.clear();
  group_is_open_ = began_ = has_failed_ = skipping_ = copying_ = copy_takes_all_ = false;
  completed_ = spare_ready_ = 0;
  status_ = status;
}

}  // namespace clonesafe::proxy::postgres
