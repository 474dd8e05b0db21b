#include "proxy/wire/postgres/sql_name.h"

#include <algorithm>

namespace clonesafe::wire::postgres {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool continues_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

std::string doubled(std::string_view text, char quote) {
  std::string result(1, quote);
  for (const char c : text) {
    if (c == quote) result.push_back(c);
    result.push_back(c);
  }
  result.push_back(quote);
  return result;
}

}  // namespace

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool starts_with_lower(std::string_view text, std::string_view prefix) {
  return std::ranges::equal(text.substr(0, prefix.size()), prefix, {}, lower);
}

std::string ascii_lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), lower);
  return result;
}

std::optional<std::string> sql_name(const SqlToken& token, SqlOptions::Encoding encoding) {
  std::string name;
  if (token.kind == SqlToken::Kind::kWord) {
    name = ascii_lower(token.text);
  } else if (token.kind == SqlToken::Kind::kQuoted) {
    const auto inside = token.text.substr(1, token.text.size() - 2);
    for (std::size_t i = 0; i < inside.size(); ++i) {
      name.push_back(inside[i]);
      if (inside[i] == '"') ++i;  // the second of two
    }
  } else {
    return std::nullopt;
  }
  if (name.empty()) return std::nullopt;
  if (encoding != SqlOptions::Encoding::kUtf8 && !is_ascii(name)) return std::nullopt;
  if (name.size() > kMaxName) {
    std::size_t end = kMaxName;
    while (end > kMaxName - 4 && continues_character(name[end])) --end;
    // No UTF-8: the server refuses the text.
    if (continues_character(name[end])) return std::nullopt;
    name.resize(end);
  }
  return name;
}

bool is_word(const SqlToken& token, std::string_view keyword) {
  return token.kind == SqlToken::Kind::kWord && std::ranges::equal(token.text, keyword, {}, lower);
}

std::string quote_sql_name(std::string_view name) {
  return doubled(name, '"');
}

std::string quote_sql_string(std::string_view text) {
  if (text.find('\\') == std::string_view::npos) return doubled(text, '\'');
  std::string escaped;
  for (const char c : text) {
    if (c == '\\') escaped.push_back(c);
    escaped.push_back(c);
  }
  // The space keeps the letter apart from a name in front of it.
  return " E" + doubled(escaped, '\'');
}

}  // namespace clonesafe::wire::postgres
