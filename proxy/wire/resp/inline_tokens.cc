#include "proxy/wire/resp/inline_tokens.h"

#include <charconv>

namespace clonesafe::wire::resp {
namespace {

constexpr std::string_view kSpaces = " \t\r\n\v\f";
// A vertical tab and a form feed separate, but end no word.
constexpr std::string_view kEndsWord = " \t\r\n";

char unescaped(char letter) {
  switch (letter) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return letter;
  }
}

}  // namespace

char InlineTokens::take() {
  const char byte = rest_.front();
  rest_.remove_prefix(1);
  return byte;
}

InlineTokens::Found InlineTokens::next(std::string* token) {
  if (token != nullptr) token->clear();
  const auto keep = [token](char byte) {
    if (token != nullptr) token->push_back(byte);
  };
  rest_.remove_prefix(std::min(rest_.find_first_not_of(kSpaces), rest_.size()));
  if (rest_.empty()) return Found::kEnd;
  char quote = 0;
  while (!rest_.empty()) {
    const char byte = take();
    if (quote == 0) {
      if (kEndsWord.contains(byte)) return Found::kToken;
      if (byte == '"' || byte == '\'') {
        quote = byte;
      } else {
        keep(byte);
      }
    } else if (byte == quote) {
      return rest_.empty() || kSpaces.contains(rest_.front()) ? Found::kToken
                                                              : Found::kUnbalancedQuotes;
    } else if (byte == '\\' && quote == '\'' && rest_.starts_with('\'')) {
      keep(take());
    } else if (byte == '\\' && quote == '"' && !rest_.empty()) {
      std::uint8_t value = 0;
      const char letter = take();
      if (letter == 'x' && rest_.size() >= 2 &&
          std::from_chars(rest_.data(), rest_.data() + 2, value, 16).ptr == rest_.data() + 2) {
        keep(static_cast<char>(value));
        rest_.remove_prefix(2);
      } else {
        keep(unescaped(letter));
      }
    } else {
      keep(byte);
    }
  }
  return quote == 0 ? Found::kToken : Found::kUnbalancedQuotes;
}

}  // namespace clonesafe::wire::resp
