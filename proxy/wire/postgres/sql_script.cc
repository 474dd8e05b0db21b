#include "proxy/wire/postgres/sql_script.h"

#include <algorithm>
#include <array>
#include <span>

#include "proxy/wire/postgres/sql_name.h"

namespace clonesafe::wire::postgres {
namespace {

// More than any statement has before its kind is known, unless it says things twice.
constexpr std::size_t kLeadingTokens = 24;

bool is_any(const SqlToken& token, std::initializer_list<std::string_view> keywords) {
  return std::ranges::any_of(keywords, [&](auto keyword) { return is_word(token, keyword); });
}

std::uint8_t bit(SqlHint hint) {
  return static_cast<std::uint8_t>(hint);
}

// Of the name of a function or schema, in quotes or not.
std::uint8_t hint_of(const SqlToken& token) {
  if (token.kind == SqlToken::Kind::kUnicodeQuoted) return 0;
  auto name = token.text;
  if (token.kind == SqlToken::Kind::kQuoted) name = name.substr(1, name.size() - 2);
  if (name.empty()) return 0;
  // Nearly all words end here.
  switch (name.front() | 0x20) {
    case 'p':
      if (starts_with_lower(name, "pg_advisory_") || starts_with_lower(name, "pg_try_advisory_"))
        return bit(SqlHint::kAdvisoryLock);
      if (starts_with_lower(name, "pg_temp")) return bit(SqlHint::kTemporary);
      return 0;
    case 's':
    case 'n':
    case 'c':
    case 'l': {
      if (name.size() < 6 || name.size() > 10) return 0;
      const auto lower = ascii_lower(name);
      if (lower == "set_config") return bit(SqlHint::kSetConfig);
      if (lower == "setval" || lower == "nextval" || lower == "currval" || lower == "lastval")
        return bit(SqlHint::kSequence);
      return 0;
    }
    default:
      return 0;
  }
}

// What a statement is made of, as far as it has to be known.
struct Leading {
  std::array<SqlToken, kLeadingTokens> tokens;
  std::size_t count = 0;  // of all tokens

  void add(const SqlToken& token) {
    if (count < tokens.size()) tokens[count] = token;
    ++count;
  }
  std::span<const SqlToken> kept() const {
    return std::span(tokens).first(std::min(count, tokens.size()));
  }
  bool creates_function() const {
    const std::size_t at = is_word(tokens[1], "or") && is_word(tokens[2], "replace") ? 3 : 1;
    return is_word(tokens[0], "create") && is_any(tokens[at], {"function", "procedure"});
  }
};

}  // namespace

SqlScript::SqlScript(std::string_view text, const SqlOptions& options)
    : text_(text), options_(options), lexer_(text, options) {}

std::optional<SqlStatement> SqlScript::next() {
  if (ended_) return std::nullopt;
  if (options_.encoding == SqlOptions::Encoding::kUnsafe && !is_ascii(text_)) {
    ended_ = true;
    return SqlStatement{.text = text_};
  }
  Leading leading;
  SqlToken before;
  SqlToken token;
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t depth = 0;
  std::uint8_t hints = 0;
  bool into_temporary = false;
  const auto rest_is_unknown = [&] {
    ended_ = true;
    return SqlStatement{.text = text_.substr(begin), .hints = hints};
  };
  while (true) {
    before = token;
    token = lexer_.next();
    if (token.kind == SqlToken::Kind::kBroken) {
      if (leading.count == 0) begin = lexer_.position();
      return rest_is_unknown();
    }
    if (token.kind == SqlToken::Kind::kEnd) {
      ended_ = true;
      break;
    }
    if (token.is(';') && depth == 0) {
      if (leading.count == 0) continue;
      break;
    }
    if (leading.count == 0) begin = lexer_.position() - token.text.size();
    end = lexer_.position();
    leading.add(token);
    if (token.is('(')) ++depth;
    if (token.is(')') && depth > 0) --depth;
    if (token.kind == SqlToken::Kind::kWord || token.kind == SqlToken::Kind::kQuoted) {
      hints |= hint_of(token);
      if (is_word(before, "into") && is_any(token, {"temp", "temporary", "local", "global"})) {
        hints |= bit(SqlHint::kTemporary);
        into_temporary = true;
      }
      // Its body has semicolons, and ends at an END that isn't told from others without a parser.
      if (depth == 0 && is_word(token, "atomic") && is_word(before, "begin") &&
          leading.creates_function())
        return rest_is_unknown();
    }
  }
  if (leading.count == 0) return std::nullopt;
  auto statement = classify_sql(leading.kept(), leading.count <= kLeadingTokens, options_.encoding);
  statement.text = text_.substr(begin, end - begin);
  statement.hints = hints;
  // SELECT ... INTO TEMP, or in the schema pg_temp without the word TEMP.
  if ((statement.kind == SqlKind::kSelect && into_temporary) ||
      (is_word(leading.tokens[0], "create") && statement.has(SqlHint::kTemporary)))
    statement.kind = SqlKind::kCreateTemporary;
  return statement;
}

}  // namespace clonesafe::wire::postgres
