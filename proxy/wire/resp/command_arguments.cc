#include "proxy/wire/resp/command_arguments.h"

#include "proxy/wire/resp/inline_tokens.h"
#include "proxy/wire/resp/value_reader.h"

namespace clonesafe::wire::resp {

CommandArguments::CommandArguments(std::string_view command)
    : rest_(command), is_line_(!command.starts_with('*')) {
  if (is_line_) return;
  // The count is the framer's.
  const std::size_t end = rest_.find('\n');
  rest_.remove_prefix(end == rest_.npos ? rest_.size() : end + 1);
}

std::optional<std::string_view> CommandArguments::next() {
  if (is_line_) {
    InlineTokens tokens(rest_);
    if (tokens.next(&token_) != InlineTokens::Found::kToken) return std::nullopt;
    rest_ = tokens.rest();
    return token_;
  }
  ValueReader reader(rest_);
  const auto argument = reader.next();
  if (!argument || argument->type != Type::kBulkString || argument->null) return std::nullopt;
  rest_ = reader.rest();
  return argument->text;
}

}  // namespace clonesafe::wire::resp
