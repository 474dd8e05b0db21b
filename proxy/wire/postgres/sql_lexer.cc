#include "proxy/wire/postgres/sql_lexer.h"

#include <algorithm>
#include <array>
#include <string>

namespace clonesafe::wire::postgres {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}
bool is_newline(char c) {
  return c == '\n' || c == '\r';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
// A byte of a longer character counts as a letter.
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_name(char c) {
  return is_name_start(c) || is_digit(c) || c == '$';
}
bool is_operator(char c) {
  return c != '\0' && std::string_view("~!@#^&|`?+-*/%<>=").find(c) != kNone;
}

}  // namespace

SqlOptions::Encoding sql_encoding(std::string_view client_encoding,
                                  std::string_view server_encoding) {
  const auto plain = [](std::string_view name) {
    std::string key;
    for (const char c : name) {
      if (c >= 'A' && c <= 'Z')
        key.push_back(static_cast<char>(c - 'A' + 'a'));
      else if ((c >= 'a' && c <= 'z') || is_digit(c))
        key.push_back(c);
    }
    return key;
  };
  const auto is_utf8 = [](const std::string& key) { return key == "utf8" || key == "unicode"; };
  const std::string client = plain(client_encoding);
  if (is_utf8(client) && is_utf8(plain(server_encoding))) return SqlOptions::Encoding::kUtf8;
  // All that a server may have too: its own scanner reads bytes. ("win" is WIN1251, "alt" WIN866.)
  constexpr auto kSafe = std::to_array<std::string_view>(
      {"abc",      "alt",      "eucjis2004", "eucjp", "euckr", "euccn", "euctw",        "iso88595",
       "iso88596", "iso88597", "iso88598",   "koi8",  "koi8r", "koi8u", "muleinternal", "sqlascii",
       "tcvn",     "tcvn5712", "unicode",    "utf8",  "vscii", "win"});
  const auto numbered = [&](std::string_view family) {
    return client.starts_with(family) && client.size() > family.size() &&
           std::all_of(client.begin() + static_cast<std::ptrdiff_t>(family.size()), client.end(),
                       is_digit);
  };
  // win932, win936, win949 and win950 are names of encodings that aren't safe.
  if (client.starts_with("win9")) return SqlOptions::Encoding::kUnsafe;
  if (numbered("latin") || numbered("win") || numbered("windows125") ||
      std::ranges::find(kSafe, client) != kSafe.end())
    return SqlOptions::Encoding::kAsciiSafe;
  return SqlOptions::Encoding::kUnsafe;
}

SqlToken SqlLexer::next() {
  if (!skip_space()) return broken();
  const char c = at(position_);
  if (position_ == text_.size()) return {};
  if (is_name_start(c)) return word_or_prefixed();
  if (is_digit(c) || (c == '.' && is_digit(at(position_ + 1)))) return number();
  if (c == '\'') return string(position_, !options_.standard_conforming_strings, true);
  if (c == '"') return quoted_name(position_, Kind::kQuoted);
  if (c == '$') return dollar();
  if (is_operator(c)) return operators();
  return token(Kind::kCharacter, position_ + 1);
}

// False: a comment doesn't end.
bool SqlLexer::skip_space() {
  while (position_ < text_.size()) {
    if (is_space(text_[position_])) {
      ++position_;
    } else if (starts(position_, "--")) {
      position_ = line_end(position_);
    } else if (starts(position_, "/*")) {
      if (!skip_block_comment()) return false;
    } else {
      break;
    }
  }
  return true;
}

// They nest.
bool SqlLexer::skip_block_comment() {
  std::size_t depth = 0;
  for (std::size_t i = position_; i < text_.size();) {
    if (starts(i, "/*")) {
      ++depth;
      i += 2;
    } else if (starts(i, "*/")) {
      i += 2;
      if (--depth == 0) {
        position_ = i;
        return true;
      }
    } else {
      i = std::min(text_.find_first_of("/*", i + 1), text_.size());
    }
  }
  return false;
}

std::size_t SqlLexer::line_end(std::size_t position) const {
  return std::min(text_.find_first_of("\n\r", position), text_.size());
}

SqlToken SqlLexer::token(Kind kind, std::size_t end) {
  const SqlToken token{.kind = kind, .text = text_.substr(position_, end - position_)};
  position_ = end;
  return token;
}

// Stays at the beginning of what has no end.
SqlToken SqlLexer::broken() {
  return {.kind = Kind::kBroken, .text = text_.substr(position_)};
}

SqlToken SqlLexer::word_or_prefixed() {
  // A prefix is one letter right before the quote; after a longer word a string begins anew.
  const char letter = static_cast<char>(text_[position_] | 0x20);
  const char behind = at(position_ + 1);
  if (behind == '\'') {
    if (letter == 'e') return string(position_ + 1, true, true);
    if (letter == 'b' || letter == 'x') return string(position_ + 1, false, false);
  }
  if (letter == 'u' && behind == '&') {
    const char quote = at(position_ + 2);
    if (quote == '"') return quoted_name(position_ + 2, Kind::kUnicodeQuoted);
    // Without standard_conforming_strings the server refuses it.
    if (quote == '\'')
      return options_.standard_conforming_strings ? string(position_ + 2, false, true) : broken();
  }
  std::size_t end = position_ + 1;
  while (is_name(at(end))) ++end;
  return token(Kind::kWord, end);
}

// What looks like a digit's tail but isn't becomes the next token: servers before 15 did so, later
// ones refuse it.
SqlToken SqlLexer::number() {
  std::size_t end = position_;
  const auto digits = [&] {
    while (is_digit(at(end))) ++end;
  };
  digits();
  if (at(end) == '.' && at(end + 1) != '.') {
    ++end;
    digits();
  }
  if (at(end) == 'e' || at(end) == 'E') {
    std::size_t exponent = end + 1;
    if (at(exponent) == '+' || at(exponent) == '-') ++exponent;
    if (is_digit(at(exponent))) {
      end = exponent;
      digits();
    }
  }
  return token(Kind::kNumber, end);
}

SqlToken SqlLexer::dollar() {
  std::size_t end = position_ + 1;
  if (is_digit(at(end))) {
    while (is_digit(at(end))) ++end;
    return token(Kind::kParameter, end);
  }
  if (is_name_start(at(end))) {
    // A tag is a name without a dollar.
    while (is_name(at(end)) && at(end) != '$') ++end;
  }
  if (at(end) != '$') return token(Kind::kCharacter, position_ + 1);
  const auto tag = text_.substr(position_, end + 1 - position_);
  const auto close = text_.find(tag, end + 1);
  if (close == kNone) return broken();
  return token(Kind::kString, close + tag.size());
}

// A comment may begin right behind an operator.
SqlToken SqlLexer::operators() {
  std::size_t end = position_;
  while (is_operator(at(end)) && !starts(end, "--") && !starts(end, "/*")) ++end;
  // SQL has "=-1": a sign at the end belongs to what follows, unless the operator can't be SQL's
  // own.
  if (text_.substr(position_, end - 1 - position_).find_first_of("~!@#^&|`?%") == kNone) {
    while (end - position_ > 1 && (at(end - 1) == '+' || at(end - 1) == '-')) --end;
  }
  return token(Kind::kOperator, end);
}

SqlToken SqlLexer::string(std::size_t quote, bool backslashes, bool doubled) {
  std::size_t i = quote + 1;
  while (true) {
    i = text_.find_first_of(backslashes ? std::string_view("'\\") : std::string_view("'"), i);
    if (i == kNone) return broken();
    if (text_[i] == '\\') {
      i += 2;  // whatever it is
      if (i > text_.size()) return broken();
      continue;
    }
    if (doubled && at(i + 1) == '\'') {
      i += 2;
      continue;
    }
    const std::size_t more = continuation(i + 1);
    if (more == kNone) return token(Kind::kString, i + 1);
    i = more + 1;
  }
}

// A string goes on at a quote with a line's end and nothing but space and line comments between.
std::size_t SqlLexer::continuation(std::size_t position) const {
  bool line_ended = false;
  while (position < text_.size()) {
    const char c = text_[position];
    if (is_space(c)) {
      line_ended = line_ended || is_newline(c);
      ++position;
    } else if (starts(position, "--")) {
      position = line_end(position);
    } else {
      return c == '\'' && line_ended ? position : kNone;
    }
  }
  return kNone;
}

SqlToken SqlLexer::quoted_name(std::size_t quote, Kind kind) {
  std::size_t i = quote + 1;
  while (true) {
    i = text_.find('"', i);
    if (i == kNone) return broken();
    if (at(i + 1) != '"') return token(kind, i + 1);
    i += 2;
  }
}

}  // namespace clonesafe::wire::postgres
