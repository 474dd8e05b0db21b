#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_SQL_LEXER_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_SQL_LEXER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace clonesafe::wire::postgres {

// What the session has at the moment a text arrives: a server reads a whole text before it runs any
// of it, so a SET in it counts for the next one.
struct SqlOptions {
  enum class Encoding : std::uint8_t {
    kUtf8,       // of client and server
    kAsciiSafe,  // no byte below 0x80 is part of a longer character
    kUnsafe,     // SJIS, GBK, ...: a quote or backslash may be half of a character
  };
  bool standard_conforming_strings = true;
  Encoding encoding = Encoding::kUtf8;
};

// By the names that client_encoding and server_encoding have, in any case and with or without
// dashes. What isn't known is unsafe.
SqlOptions::Encoding sql_encoding(std::string_view client_encoding,
                                  std::string_view server_encoding);

struct SqlToken {
  enum class Kind : std::uint8_t {
    kWord,           // an identifier without quotes, or a keyword
    kQuoted,         // "..."
    kUnicodeQuoted,  // U&"..."
    kString,         // of any form: '...', E'...', U&'...', B'...', X'...', $tag$...$tag$
    kNumber,
    kParameter,  // $1
    kOperator,
    kCharacter,  // one of , ( ) [ ] . ; : or one that no token begins with
    kEnd,
    kBroken,  // a string, comment or name without its end: the server refuses the whole text
  };
  Kind kind = Kind::kEnd;
  std::string_view text;  // with all quotes

  bool is(char character) const { return kind == Kind::kCharacter && text.front() == character; }
};

// Splits SQL into tokens where the server's scanner does. What lies between them, white space and
// comments, is left out. Allocates nothing. Not thread-safe.
class SqlLexer {
 public:
  SqlLexer(std::string_view text, const SqlOptions& options) : text_(text), options_(options) {}

  // After kEnd and kBroken the same again.
  SqlToken next();
  // Where the next call goes on.
  std::size_t position() const { return position_; }

 private:
  using Kind = SqlToken::Kind;

  char at(std::size_t position) const { return position < text_.size() ? text_[position] : '\0'; }
  bool starts(std::size_t position, std::string_view what) const {
    return text_.substr(position).starts_with(what);
  }
  bool skip_space();
  bool skip_block_comment();
  std::size_t line_end(std::size_t position) const;
  SqlToken token(Kind kind, std::size_t end);
  SqlToken broken();
  SqlToken word_or_prefixed();
  SqlToken number();
  SqlToken dollar();
  SqlToken operators();
  SqlToken string(std::size_t quote, bool backslashes, bool doubled);
  SqlToken quoted_name(std::size_t quote, Kind kind);
  std::size_t continuation(std::size_t position) const;

  std::string_view text_;
  SqlOptions options_;
  std::size_t position_ = 0;
};

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_SQL_LEXER_H_
