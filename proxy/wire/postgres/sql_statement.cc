#include "proxy/wire/postgres/sql_statement.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "proxy/wire/postgres/sql_name.h"

namespace clonesafe::wire::postgres {
namespace {

// Goes over a statement's first tokens. Behind the last of them is kEnd if they are all, otherwise
// kBroken, which is nothing that any statement goes on with.
class Tokens {
 public:
  Tokens(std::span<const SqlToken> tokens, bool all, SqlOptions::Encoding encoding)
      : tokens_(tokens),
        behind_{.kind = all ? SqlToken::Kind::kEnd : SqlToken::Kind::kBroken},
        encoding_(encoding) {}

  const SqlToken& peek(std::size_t ahead = 0) const {
    return next_ + ahead < tokens_.size() ? tokens_[next_ + ahead] : behind_;
  }
  bool at_end() const { return peek().kind == SqlToken::Kind::kEnd; }
  bool at(std::string_view keyword, std::size_t ahead = 0) const {
    return is_word(peek(ahead), keyword);
  }
  bool at_assignment(std::size_t ahead) const {
    const auto& token = peek(ahead);
    return at("to", ahead) || (token.kind == SqlToken::Kind::kOperator && token.text == "=");
  }
  void skip() { ++next_; }
  bool take(std::string_view keyword) {
    if (!at(keyword)) return false;
    ++next_;
    return true;
  }
  bool take_all(std::initializer_list<std::string_view> keywords) {
    std::size_t ahead = 0;
    for (const auto keyword : keywords) {
      if (!at(keyword, ahead++)) return false;
    }
    next_ += keywords.size();
    return true;
  }
  bool take_any(std::initializer_list<std::string_view> keywords) {
    return std::ranges::any_of(keywords, [&](auto keyword) { return take(keyword); });
  }
  bool take(char character) {
    if (!peek().is(character)) return false;
    ++next_;
    return true;
  }
  std::optional<std::string> take_name() {
    auto name = sql_name(peek(), encoding_);
    if (name) ++next_;
    return name;
  }

 private:
  std::span<const SqlToken> tokens_;
  SqlToken behind_;
  SqlOptions::Encoding encoding_;
  std::size_t next_ = 0;
};

using Statement = SqlStatement;

// A statement that ends behind its name.
Statement named(SqlKind kind, Tokens& tokens) {
  auto name = tokens.take_name();
  if (!name || !tokens.at_end()) return {};
  return {.kind = kind, .name = std::move(*name)};
}

Statement ended(SqlKind kind, const Tokens& tokens) {
  return {.kind = tokens.at_end() ? kind : SqlKind::kUnknown};
}

// transaction_mode_list; nothing for what isn't one.
std::optional<SqlAccess> take_modes(Tokens& tokens) {
  auto access = SqlAccess::kUnspecified;
  const auto set = [&](SqlAccess to) {
    access = access == SqlAccess::kUnspecified || access == to ? to : SqlAccess::kUnknown;
  };
  while (!tokens.at_end()) {
    if (tokens.take_all({"isolation", "level"})) {
      if (!tokens.take("serializable") && !tokens.take_all({"repeatable", "read"}) &&
          !tokens.take_all({"read", "committed"}) && !tokens.take_all({"read", "uncommitted"}))
        return std::nullopt;
    } else if (tokens.take_all({"read", "only"})) {
      set(SqlAccess::kReadOnly);
    } else if (tokens.take_all({"read", "write"})) {
      set(SqlAccess::kReadWrite);
    } else if (!tokens.take_all({"not", "deferrable"}) && !tokens.take("deferrable")) {
      return std::nullopt;
    }
    if (tokens.take(',') && tokens.at_end()) return std::nullopt;
  }
  return access;
}

Statement with_modes(SqlKind kind, Tokens& tokens) {
  const auto access = take_modes(tokens);
  if (!access) return {};
  return {.kind = kind, .access = *access};
}

Statement begin(Tokens& tokens) {
  static_cast<void>(tokens.take_any({"work", "transaction"}));
  return with_modes(SqlKind::kBegin, tokens);
}

Statement start(Tokens& tokens) {
  if (!tokens.take("transaction")) return {};
  return with_modes(SqlKind::kBegin, tokens);
}

// Behind COMMIT, END, ROLLBACK or ABORT.
Statement finish(SqlKind kind, Tokens& tokens) {
  static_cast<void>(tokens.take_any({"work", "transaction"}));
  bool chain = false;
  if (tokens.take("and")) {
    chain = !tokens.take("no");
    if (!tokens.take("chain")) return {};
  }
  auto statement = ended(kind, tokens);
  statement.chain = chain;
  return statement;
}

// COMMIT PREPARED 'id', PREPARE TRANSACTION 'id'
Statement with_id(SqlKind kind, Tokens& tokens) {
  if (tokens.peek().kind != SqlToken::Kind::kString) return {};
  tokens.skip();
  return ended(kind, tokens);
}

Statement commit(Tokens& tokens) {
  if (tokens.take("prepared")) return with_id(SqlKind::kFinishPrepared, tokens);
  return finish(SqlKind::kCommit, tokens);
}

Statement rollback(Tokens& tokens) {
  if (tokens.take("prepared")) return with_id(SqlKind::kFinishPrepared, tokens);
  const std::size_t to = tokens.at("work") || tokens.at("transaction") ? 1 : 0;
  if (!tokens.at("to", to)) return finish(SqlKind::kRollback, tokens);
  for (std::size_t i = 0; i <= to; ++i) tokens.skip();
  // A savepoint may be named so.
  if (tokens.peek(1).kind != SqlToken::Kind::kEnd) static_cast<void>(tokens.take("savepoint"));
  return named(SqlKind::kRollbackTo, tokens);
}

Statement release(Tokens& tokens) {
  if (tokens.peek(1).kind != SqlToken::Kind::kEnd) static_cast<void>(tokens.take("savepoint"));
  return named(SqlKind::kRelease, tokens);
}

// Settings' names are compared without regard to case, also in quotes; they may have dots.
std::optional<std::string> take_setting(Tokens& tokens) {
  auto name = tokens.take_name();
  if (!name) return std::nullopt;
  while (tokens.take('.')) {
    const auto part = tokens.take_name();
    if (!part) return std::nullopt;
    *name += '.' + *part;
  }
  return ascii_lower(*name);
}

SqlKind kind_of_setting(std::string_view name) {
  if (name == "role") return SqlKind::kSetRole;
  if (name == "session_authorization") return SqlKind::kSetSessionAuthorization;
  return SqlKind::kSet;
}

// Behind SET and its SESSION or LOCAL, what has no "=" or TO. The value is what follows.
Statement set_special(Tokens& tokens) {
  if (tokens.take_all({"session", "authorization"}))
    return {.kind = SqlKind::kSetSessionAuthorization, .name = "session_authorization"};
  if (tokens.take_all({"session", "characteristics", "as", "transaction"}))
    return with_modes(SqlKind::kSetCharacteristics, tokens);
  if (tokens.take("transaction")) {
    if (tokens.take("snapshot")) return with_id(SqlKind::kSetTransaction, tokens);
    return with_modes(SqlKind::kSetTransaction, tokens);
  }
  if (tokens.take("role")) return {.kind = SqlKind::kSetRole, .name = "role"};
  if (tokens.take_all({"time", "zone"})) return {.kind = SqlKind::kSet, .name = "timezone"};
  if (tokens.take("names")) return {.kind = SqlKind::kSet, .name = "client_encoding"};
  if (tokens.take("schema")) return {.kind = SqlKind::kSet, .name = "search_path"};
  if (tokens.take_all({"xml", "option"})) return {.kind = SqlKind::kSet, .name = "xmloption"};
  return {};
}

Statement set(Tokens& tokens) {
  if (tokens.take("constraints")) return {.kind = SqlKind::kOther};  // of this transaction
  bool local = false;
  const auto names_a_setting = [&](std::size_t ahead) {
    return tokens.at_assignment(ahead) || tokens.peek(ahead).is('.');
  };
  // SESSION and LOCAL may be settings' names, and SESSION begins two special forms.
  if (!names_a_setting(1) && !tokens.at("authorization", 1) &&
      !(tokens.at("characteristics", 1) && tokens.at("as", 2))) {
    local = tokens.at("local");
    static_cast<void>(tokens.take_any({"local", "session"}));
  }
  Statement statement;
  if (names_a_setting(1)) {
    auto name = take_setting(tokens);
    if (!name || !tokens.at_assignment(0)) return {};
    tokens.skip();
    statement = {.kind = kind_of_setting(*name), .name = std::move(*name)};
  } else {
    statement = set_special(tokens);
  }
  statement.local = local;
  if (statement.kind != SqlKind::kSet) return statement;
  if (tokens.at_end() && statement.name != "client_encoding") return {};  // no value
  const bool time_zone_local = statement.name == "timezone" && tokens.at("local");
  if ((tokens.at("default") || time_zone_local || tokens.at_end()) && !local)
    statement.kind = SqlKind::kReset;
  return statement;
}

Statement reset(Tokens& tokens) {
  if (tokens.take("all")) return ended(SqlKind::kResetAll, tokens);
  if (tokens.take_all({"session", "authorization"})) {
    auto statement = ended(SqlKind::kReset, tokens);
    statement.name = "session_authorization";
    return statement;
  }
  if (tokens.take_all({"time", "zone"})) {
    auto statement = ended(SqlKind::kReset, tokens);
    statement.name = "timezone";
    return statement;
  }
  if (tokens.take_all({"transaction", "isolation", "level"}))
    return ended(SqlKind::kSetTransaction, tokens);
  auto name = take_setting(tokens);
  if (!name || !tokens.at_end()) return {};
  return {.kind = SqlKind::kReset, .name = std::move(*name)};
}

Statement prepare(Tokens& tokens) {
  // A prepared statement may be named so too.
  if (tokens.at("transaction") && tokens.peek(1).kind == SqlToken::Kind::kString) {
    tokens.skip();
    return with_id(SqlKind::kPrepareTransaction, tokens);
  }
  auto name = tokens.take_name();
  if (!name || !(tokens.at("as") || tokens.peek().is('('))) return {};
  return {.kind = SqlKind::kPrepare, .name = std::move(*name)};
}

Statement execute(Tokens& tokens) {
  auto name = tokens.take_name();
  if (!name || !(tokens.at_end() || tokens.peek().is('('))) return {};
  return {.kind = SqlKind::kExecute, .name = std::move(*name)};
}

Statement deallocate(Tokens& tokens) {
  if (tokens.peek(1).kind != SqlToken::Kind::kEnd) static_cast<void>(tokens.take("prepare"));
  if (tokens.take("all")) return ended(SqlKind::kDeallocateAll, tokens);
  return named(SqlKind::kDeallocate, tokens);
}

Statement unlisten(Tokens& tokens) {
  if (tokens.peek().kind == SqlToken::Kind::kOperator && tokens.peek().text == "*") {
    tokens.skip();
    return ended(SqlKind::kUnlistenAll, tokens);
  }
  return named(SqlKind::kUnlisten, tokens);
}

Statement discard(Tokens& tokens) {
  std::string name;
  for (const auto kind : {"all", "plans", "sequences", "temp"}) {
    if (tokens.take(kind)) name = kind;
  }
  if (name.empty() && tokens.take("temporary")) name = "temp";
  if (name.empty()) return {};
  auto statement = ended(SqlKind::kDiscard, tokens);
  statement.name = std::move(name);
  return statement;
}

Statement declare(Tokens& tokens) {
  auto name = tokens.take_name();
  if (!name) return {};
  while (tokens.take_any({"binary", "asensitive", "insensitive", "no", "scroll"})) {
  }
  if (!tokens.take("cursor")) return {};
  const bool held = tokens.take_all({"with", "hold"});
  if (!held) static_cast<void>(tokens.take_all({"without", "hold"}));
  if (!tokens.take("for")) return {};
  return {.kind = held ? SqlKind::kDeclareHeldCursor : SqlKind::kDeclareCursor,
          .name = std::move(*name)};
}

Statement close(Tokens& tokens) {
  if (tokens.take("all")) return ended(SqlKind::kCloseCursor, tokens);
  return named(SqlKind::kCloseCursor, tokens);
}

Statement create(Tokens& tokens) {
  static_cast<void>(tokens.take_all({"or", "replace"}));
  static_cast<void>(tokens.take_any({"local", "global"}));
  if (tokens.take_any({"temp", "temporary"})) return {.kind = SqlKind::kCreateTemporary};
  return {.kind = SqlKind::kOther};
}

// With ANALYZE it runs the statement that it explains. Options are in parentheses.
Statement explain(Tokens& tokens) {
  for (std::size_t i = 0; tokens.peek(i).kind != SqlToken::Kind::kEnd; ++i) {
    if (tokens.peek(i).kind == SqlToken::Kind::kBroken) break;
    if (tokens.at("analyze", i) || tokens.at("analyse", i)) return {};
  }
  return {.kind = SqlKind::kOther};
}

template <SqlKind kind>
Statement just(Tokens&) {
  return {.kind = kind};
}
template <SqlKind kind>
Statement just_named(Tokens& tokens) {
  return named(kind, tokens);
}

struct Command {
  std::string_view word;
  Statement (*classify)(Tokens& tokens);
};

constexpr auto kOther = just<SqlKind::kOther>;
constexpr auto kSelect = just<SqlKind::kSelect>;

// By their first words, in order. What isn't here is unknown, DO and CALL too.
constexpr auto kCommands = std::to_array<Command>({
    {"abort", rollback},
    {"alter", kOther},
    {"analyse", kOther},
    {"analyze", kOther},
    {"begin", begin},
    {"checkpoint", kOther},
    {"close", close},
    {"cluster", kOther},
    {"comment", kOther},
    {"commit", commit},
    {"copy", just<SqlKind::kCopy>},
    {"create", create},
    {"deallocate", deallocate},
    {"declare", declare},
    {"delete", kOther},
    {"discard", discard},
    {"drop", kOther},
    {"end", commit},
    {"execute", execute},
    {"explain", explain},
    {"fetch", kOther},
    {"grant", kOther},
    {"import", kOther},
    {"insert", kOther},
    {"listen", just_named<SqlKind::kListen>},
    {"load", just<SqlKind::kLoad>},
    {"lock", kOther},
    {"merge", kOther},
    {"move", kOther},
    {"notify", kOther},
    {"prepare", prepare},
    {"reassign", kOther},
    {"refresh", kOther},
    {"reindex", kOther},
    {"release", release},
    {"reset", reset},
    {"revoke", kOther},
    {"rollback", rollback},
    {"savepoint", just_named<SqlKind::kSavepoint>},
    {"security", kOther},
    {"select", kSelect},
    {"set", set},
    {"show", kOther},
    {"start", start},
    {"table", kSelect},
    {"truncate", kOther},
    {"unlisten", unlisten},
    {"update", kOther},
    {"vacuum", kOther},
    {"values", kSelect},
    {"with", kSelect},
});
static_assert(std::ranges::is_sorted(kCommands, {}, &Command::word));

}  // namespace

SqlStatement classify_sql(std::span<const SqlToken> tokens, bool all,
                          SqlOptions::Encoding encoding) {
  // A query may be in parentheses.
  std::size_t first = 0;
  while (first < tokens.size() && tokens[first].is('(')) ++first;
  if (first == tokens.size() || tokens[first].kind != SqlToken::Kind::kWord) return {};
  const std::string word = ascii_lower(tokens[first].text);
  const auto command = std::ranges::lower_bound(kCommands, word, {}, &Command::word);
  if (command == kCommands.end() || command->word != word) return {};
  Tokens rest(tokens.subspan(first + 1), all, encoding);
  auto statement = command->classify(rest);
  if (first > 0 && statement.kind != SqlKind::kSelect) return {};
  return statement;
}

}  // namespace clonesafe::wire::postgres
