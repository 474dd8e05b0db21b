// SQL that a client sends. Its statements are parts of the text, in order; what is between them is
// space, comments and semicolons; and a statement alone is what it was in the text.
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/require.h"
#include "proxy/wire/postgres/sql_name.h"
#include "proxy/wire/postgres/sql_script.h"

using namespace clonesafe::wire::postgres;

namespace {

bool only_semicolons(std::string_view text, const SqlOptions& options) {
  SqlLexer lexer(text, options);
  while (true) {
    const auto token = lexer.next();
    if (token.kind == SqlToken::Kind::kEnd) return true;
    if (!token.is(';')) return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > (1 << 16)) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const SqlOptions options{
      .standard_conforming_strings = (data[0] & 1) != 0,
      .encoding = static_cast<SqlOptions::Encoding>((data[0] >> 1 & 3) % 3),
  };

  SqlLexer lexer(text, options);
  std::size_t end = 0;
  while (true) {
    const auto token = lexer.next();
    require(lexer.position() >= end && lexer.position() <= text.size());
    if (token.kind == SqlToken::Kind::kEnd || token.kind == SqlToken::Kind::kBroken) break;
    require(!token.text.empty() && lexer.position() > end);
    require(token.text.data() + token.text.size() == text.data() + lexer.position());
    end = lexer.position();
    if (const auto name = sql_name(token, options.encoding))
      require(!name->empty() && name->size() <= kMaxName);
    // A token is the same without what is in front of it, and its quoted value has no way out.
    SqlLexer alone(token.text, options);
    const auto again = alone.next();
    require(again.kind == token.kind && again.text == token.text);
  }

  SqlScript script(text, options);
  std::size_t position = 0;
  while (const auto statement = script.next()) {
    require(!statement->text.empty());
    const auto begin = static_cast<std::size_t>(statement->text.data() - text.data());
    require(begin >= position && begin + statement->text.size() <= text.size());
    require(only_semicolons(text.substr(position, begin - position), options));
    position = begin + statement->text.size();
    SqlScript alone(statement->text, options);
    const auto again = alone.next();
    require(again && again->kind == statement->kind && again->name == statement->name &&
            again->text == statement->text && again->hints == statement->hints);
    require(!alone.next());
  }
  require(!script.next());

  for (const bool conforming : {true, false}) {
    for (const auto& quoted : {quote_sql_name(text), quote_sql_string(text)}) {
      if (text.empty()) continue;
      SqlLexer one(quoted, {.standard_conforming_strings = conforming});
      require(one.next().kind >= SqlToken::Kind::kQuoted);
      require(one.next().kind == SqlToken::Kind::kEnd);
    }
  }
  return 0;
}
