#include "proxy/wire/resp/builder.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <concepts>

#include "proxy/wire/resp/header_line.h"

namespace clonesafe::wire::resp {
namespace {

void append_line(std::string& out, Type type, std::string_view text) {
  out.push_back(static_cast<char>(type));
  const std::size_t at = out.size();
  out.append(text);
  std::replace_if(
      out.begin() + static_cast<std::ptrdiff_t>(at), out.end(),
      [](char byte) { return byte == '\r' || byte == '\n'; }, ' ');
  out.append(kLineEnd);
}

template <std::integral Number>
void append_number(std::string& out, Type type, Number number) {
  char text[24];
  const auto end = std::to_chars(std::begin(text), std::end(text), number).ptr;
  out.push_back(static_cast<char>(type));
  out.append(text, end);
  out.append(kLineEnd);
}

void append_payload(std::string& out, Type type, std::string_view text) {
  append_number(out, type, text.size());
  out.append(text);
  out.append(kLineEnd);
}

}  // namespace

void append_command(std::string& out, std::span<const std::string_view> arguments) {
  append_array(out, arguments.size());
  for (const std::string_view argument : arguments) append_bulk_string(out, argument);
}

void append_simple_string(std::string& out, std::string_view text) {
  append_line(out, Type::kSimpleString, text);
}

void append_error(std::string& out, std::string_view text) {
  append_line(out, Type::kError, text);
}

void append_integer(std::string& out, std::int64_t number) {
  append_number(out, Type::kInteger, number);
}

void append_bulk_string(std::string& out, std::string_view text) {
  append_payload(out, Type::kBulkString, text);
}

void append_null(std::string& out, Protocol protocol) {
  out.append(protocol == Protocol::kResp2 ? "$-1\r\n" : "_\r\n");
}

void append_boolean(std::string& out, Protocol protocol, bool value) {
  if (protocol == Protocol::kResp2) return append_integer(out, value ? 1 : 0);
  append_line(out, Type::kBoolean, value ? "t" : "f");
}

void append_double(std::string& out, Protocol protocol, double number) {
  char digits[32];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), number).ptr;
  const std::string_view text = std::isnan(number) ? "nan" : std::string_view(digits, end);
  if (protocol == Protocol::kResp2) return append_bulk_string(out, text);
  append_line(out, Type::kDouble, text);
}

void append_big_number(std::string& out, Protocol protocol, std::string_view digits) {
  if (protocol == Protocol::kResp2) return append_bulk_string(out, digits);
  append_line(out, Type::kBigNumber, digits);
}

void append_verbatim(std::string& out, Protocol protocol, std::string_view format,
                     std::string_view text) {
  if (protocol == Protocol::kResp2) return append_bulk_string(out, text);
  append_number(out, Type::kVerbatim, format.size() + 1 + text.size());
  out.append(format).append(":").append(text).append(kLineEnd);
}

void append_array(std::string& out, std::uint64_t values) {
  append_number(out, Type::kArray, values);
}

void append_set(std::string& out, Protocol protocol, std::uint64_t values) {
  append_number(out, protocol == Protocol::kResp2 ? Type::kArray : Type::kSet, values);
}

void append_map(std::string& out, Protocol protocol, std::uint64_t pairs) {
  if (protocol == Protocol::kResp2) return append_array(out, 2 * pairs);
  append_number(out, Type::kMap, pairs);
}

void append_push(std::string& out, Protocol protocol, std::uint64_t values) {
  append_number(out, protocol == Protocol::kResp2 ? Type::kArray : Type::kPush, values);
}

}  // namespace clonesafe::wire::resp
