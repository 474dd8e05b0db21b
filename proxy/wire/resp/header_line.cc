#include "proxy/wire/resp/header_line.h"

#include <charconv>
#include <cstdio>

namespace clonesafe::wire::resp {
namespace {

std::optional<std::int64_t> integer(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool is_double(std::string_view text) {
  if (text == "inf" || text == "-inf" || text == "nan" || text == "-nan") return true;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || text.find_first_not_of("0123456789+-.eE") != text.npos) return false;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  // A number out of a double's range is a number.
  return error != std::errc::invalid_argument && end == text.data() + text.size();
}

}  // namespace

std::optional<std::int64_t> canonical_integer(std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.starts_with('0') && text != "0") return std::nullopt;
  return integer(text);
}

LineResult find_line(std::string_view text, std::size_t scanned, std::size_t limit) {
  // Lines are short, mostly of a few digits, which calls of memchr() would take longer for.
  std::size_t at = scanned;
  while (at < text.size() && at <= limit && text[at] != '\r' && text[at] != '\n') ++at;
  if (at > limit) return std::unexpected(kTooLong);
  if (at == text.size()) return Line{};
  if (text[at] == '\n') return std::unexpected("a line feed without a carriage return");
  if (at + 1 == text.size()) return Line{};
  if (text[at + 1] != '\n') return std::unexpected("a carriage return without a line feed");
  return Line{.size = at + kLineEnd.size(), .content = text.substr(0, at)};
}

std::expected<Header, std::string_view> parse_header(std::string_view content) {
  if (content.empty()) return std::unexpected("a value without a type");
  Header header{.type = static_cast<Type>(content[0])};
  const std::string_view text = content.substr(1);
  switch (header.type) {
    case Type::kSimpleString:
    case Type::kError:
    case Type::kBigNumber:  // a script of Redis's may give any text for one
      return header;
    case Type::kInteger: {
      const auto number =
          integer(text.starts_with("+") && !text.starts_with("+-") ? text.substr(1) : text);
      if (!number) return std::unexpected("invalid integer");
      header.number = *number;
      return header;
    }
    case Type::kNull:
      header.null = true;
      if (!text.empty()) return std::unexpected("invalid null");
      return header;
    case Type::kBoolean:
      header.number = text == "t" ? 1 : 0;
      if (text != "t" && text != "f") return std::unexpected("invalid boolean");
      return header;
    case Type::kDouble:
      if (!is_double(text)) return std::unexpected("invalid double");
      return header;
    case Type::kBulkString:
    case Type::kBulkError:
    case Type::kVerbatim:
    case Type::kArray:
    case Type::kMap:
    case Type::kSet:
    case Type::kAttribute:
    case Type::kPush:
      break;
    default:
      if (content[0] == ';' || content[0] == '.')
        return std::unexpected("a part of a streamed value, which is not supported");
      return std::unexpected("unknown type");
  }
  if (text == "?")
    return std::unexpected(is_aggregate(header.type)
                               ? "a streamed aggregate, which is not supported"
                               : "a streamed string, which is not supported");
  const auto number = canonical_integer(text);
  if (number == -1 && (header.type == Type::kBulkString || header.type == Type::kArray)) {
    header.null = true;
    return header;
  }
  if (!number || *number < 0)
    return std::unexpected(is_aggregate(header.type) ? "invalid multibulk length"
                                                     : "invalid bulk length");
  header.number = *number;
  if (header.type == Type::kMap || header.type == Type::kAttribute) {
    if (__builtin_mul_overflow(header.number, 2, &header.number))
      return std::unexpected("invalid multibulk length");
  }
  // "txt:" and the text.
  if (header.type == Type::kVerbatim && header.number < 4)
    return std::unexpected("a verbatim string without a format");
  return header;
}

std::string shown(char byte) {
  if (byte > ' ' && byte <= '~') return {'\'', byte, '\''};
  char text[16];
  std::snprintf(text, sizeof text, "byte 0x%02x", static_cast<unsigned char>(byte));
  return text;
}

}  // namespace clonesafe::wire::resp
