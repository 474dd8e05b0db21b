#include "proxy/protocols/postgres/shared_statements.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "proxy/wire/postgres/client_messages.h"

namespace clonesafe::proxy::postgres {
namespace {

namespace pg = wire::postgres;
using pg::Piece;
using pg::Target;
using Known = ServerStatements::Known;

constexpr std::string_view kPrefix = "clonesafe_";
// Of the digest, in hexadecimal digits: 128 bits.
constexpr std::size_t kDigestBytes = 16;

bool may_remove_statements(const Effect& effect) {
  return effect.kind == SqlKind::kUnknown || effect.kind == SqlKind::kDeallocateAll ||
         effect.kind == SqlKind::kDiscard;
}

pg::Parse parse_of(const Statement& statement, std::string_view name) {
  return {.statement = name,
          .query = statement.query,
          .types = statement.types,
          .type_count = statement.type_count};
}

}  // namespace

// What settings say is part of what a text means: of its names, its strings, its dates.
const std::string& SharedStatements::name_of(const Statement& statement) {
  if (!statement.shared_name.empty()) return statement.shared_name;
  std::string all = statement.query + '\0' + statement.types + '\0';
  for (const auto& [name, text] : shadow_.settings()) {
    if (name != "application_name") all += text + '\0';
  }
  // Settings of this transaction alone are said to no other connection: a name that is no other's.
  if (shadow_.has_local_settings())
    all += std::to_string(session_) + ' ' + std::to_string(++apart_count_);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(all.data()), all.size(), digest.data());
  constexpr std::string_view kDigits = "0123456789abcdef";
  statement.shared_name = kPrefix;
  for (const unsigned char byte : std::span(digest).first<kDigestBytes>()) {
    statement.shared_name += kDigits[byte >> 4];
    statement.shared_name += kDigits[byte & 15];
  }
  return statement.shared_name;
}

// What SQL prepared has its own name, and so has what can't be prepared again: its session keeps
// its connection.
bool SharedStatements::is_shared(const StatementPointer& statement, std::string_view name) const {
  return statement && !name.empty() && !statement->by_sql && statement->kept;
}

Status SharedStatements::close(const std::string& name, Outgoing& out) {
  std::string message;
  if (auto added = pg::append_close(message, {.kind = Target::Kind::kStatement, .name = name});
      !added)
    return added;
  out.add(message);
  pending_.put_in_front({.type = ClientMessage::kClose, .ours = true});
  return {};
}

Status SharedStatements::make_room(ServerStatements& server, Outgoing& out) {
  while (const auto name = server.evict()) {
    if (auto closed = close(*name, out); !closed) return closed;
  }
  return {};
}

Status SharedStatements::parse(const Piece& piece, ServerStatements& server, Outgoing& out) {
  const Request& request = pending_.last();
  const StatementPointer statement = request.statement;
  if (request.name.empty()) {
    server.parse_unnamed(statement);
    out.add(piece.bytes);
    return {};
  }
  // One of that name that SQL prepared is in the way, as the server will say.
  const auto there = shadow_.statement(request.name);
  if (!is_shared(statement, request.name) || (there && there->by_sql)) {
    out.add(piece.bytes);
    return {};
  }
  const std::string& name = name_of(*statement);
  if (server.use(name) != Known::kNo) {
    if (auto closed = close(name, out); !closed) return closed;
  }
  server.parse(name);
  if (auto made = make_room(server, out); !made) return made;
  std::string message;
  if (auto added = pg::append_parse(message, parse_of(*statement, name)); !added) return added;
  out.add(message);
  return {};
}

// The connection has the statement when the next message is there.
Status SharedStatements::have(const StatementPointer& statement, std::string_view name,
                              ServerStatements& server, Outgoing& out) {
  if (!statement || statement->by_sql || !statement->kept) return {};
  std::string message;
  if (name.empty()) {
    if (server.use_unnamed(statement)) return {};
    server.parse_unnamed(statement);
  } else {
    name = name_of(*statement);
    const Known known = server.use(std::string(name));
    if (known == Known::kYes) return {};
    if (known == Known::kMaybe) {
      if (auto closed = close(std::string(name), out); !closed) return closed;
    }
    server.parse(std::string(name));
    if (auto made = make_room(server, out); !made) return made;
  }
  if (auto added = pg::append_parse(message, parse_of(*statement, name)); !added) return added;
  out.add(message);
  pending_.put_in_front({.type = ClientMessage::kParse,
                         .name = std::string(name),
                         .statement = statement,
                         .ours = true});
  return {};
}

Status SharedStatements::bind(const Piece& piece, ServerStatements& server, Outgoing& out) {
  const auto names = pg::parse_bind_names(piece.body());
  if (!names) return fail(names.error());
  const StatementPointer statement = pending_.last().statement;
  if (auto there = have(statement, names->statement, server, out); !there) return there;
  if (!is_shared(statement, names->statement)) {
    out.add(piece.bytes);
    return {};
  }
  std::string message;
  if (auto added = pg::append_bind_names(message, names->portal, name_of(*statement),
                                         piece.body_size - names->size);
      !added)
    return added;
  out.add(message);
  out.add(piece.body().substr(names->size));
  return {};
}

Status SharedStatements::describe(const Piece& piece, ServerStatements& server, Outgoing& out) {
  const auto target = pg::parse_describe(piece.body());
  if (!target) return fail(target.error());
  const StatementPointer statement = pending_.last().statement;
  if (target->kind == Target::Kind::kStatement) {
    if (auto there = have(statement, target->name, server, out); !there) return there;
  }
  if (target->kind != Target::Kind::kStatement || !is_shared(statement, target->name)) {
    out.add(piece.bytes);
    return {};
  }
  std::string message;
  if (auto added =
          pg::append_describe(message, {.kind = target->kind, .name = name_of(*statement)});
      !added)
    return added;
  out.add(message);
  return {};
}

// SQL knows a statement by the application's name. What the server says to this Parse is nobody's
// business: if it fails, so does the SQL.
Status SharedStatements::query(const Piece& piece, ServerStatements& server, Outgoing& out) {
  server.drop_unnamed();
  server.end_group();
  const std::vector<Effect> effects = pending_.last().effects;
  std::string messages;
  for (const Effect& effect : effects) {
    if (effect.kind != SqlKind::kExecute && effect.kind != SqlKind::kDeallocate) continue;
    const StatementPointer statement = shadow_.statement(effect.name);
    if (!is_shared(statement, effect.name)) continue;
    if (!server.own_names().insert(effect.name).second) {
      if (auto closed =
              pg::append_close(messages, {.kind = Target::Kind::kStatement, .name = effect.name});
          !closed)
        return closed;
      pending_.put_in_front({.type = ClientMessage::kClose, .ours = true});
    }
    if (auto added = pg::append_parse(messages, parse_of(*statement, effect.name)); !added)
      return added;
    pending_.put_in_front({.type = ClientMessage::kParse, .ours = true});
  }
  if (!messages.empty()) {
    pg::append_sync(messages);
    pending_.put_in_front({.type = ClientMessage::kSync, .ours = true});
    out.add(messages);
  }
  if (!piece.whole() || std::ranges::any_of(effects, may_remove_statements)) server.doubt_all();
  out.add(piece.bytes);
  return {};
}

Status SharedStatements::add(const Piece& piece, ServerStatements& server, Outgoing& out) {
  switch (static_cast<ClientMessage>(piece.type)) {
    case ClientMessage::kParse:
      return parse(piece, server, out);
    case ClientMessage::kBind:
      return bind(piece, server, out);
    case ClientMessage::kDescribe:
      return describe(piece, server, out);
    case ClientMessage::kClose: {
      // One of a name: the server has none of it, and takes that well.
      const auto target = pg::parse_close(piece.body());
      if (target && target->kind == Target::Kind::kStatement && target->name.empty())
        server.drop_unnamed();
      break;
    }
    case ClientMessage::kExecute: {
      const StatementPointer& statement = pending_.last().statement;
      if (!statement || std::ranges::any_of(statement->effects, may_remove_statements))
        server.doubt_all();
      break;
    }
    case ClientMessage::kQuery:
      return query(piece, server, out);
    case ClientMessage::kSync:
    case ClientMessage::kFunctionCall:
      server.end_group();
      break;
    default:
      break;
  }
  out.add(piece.bytes);
  return {};
}

}  // namespace clonesafe::proxy::postgres
