#include "proxy/wire/http1/characters.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

namespace clonesafe::wire::http1 {
namespace {

enum Class : std::uint8_t { kToken = 1, kFieldValue = 2, kVisible = 4 };

constexpr std::array<std::uint8_t, 256> kClasses = [] {
  std::array<std::uint8_t, 256> classes{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool visible = byte > 0x20 && byte < 0x7f;
    const bool letter_or_digit = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                                 (byte >= 'A' && byte <= 'Z');
    if (visible) classes[byte] |= kVisible | kFieldValue;
    if (byte == ' ' || byte == '\t' || byte >= 0x80) classes[byte] |= kFieldValue;
    if (letter_or_digit ||
        (visible && std::string_view("!#$%&'*+-.^_`|~").contains(static_cast<char>(byte))))
      classes[byte] |= kToken;
  }
  return classes;
}();

bool all_are(std::string_view text, Class wanted) {
  return std::ranges::all_of(text, [wanted](char byte) {
    return (kClasses[static_cast<unsigned char>(byte)] & wanted) != 0;
  });
}

constexpr char lower(char byte) {
  return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte - 'A' + 'a') : byte;
}

}  // namespace

bool is_token(std::string_view text) {
  return !text.empty() && all_are(text, kToken);
}
bool is_field_value(std::string_view text) {
  return all_are(text, kFieldValue);
}
bool is_visible(std::string_view text) {
  return !text.empty() && all_are(text, kVisible);
}

bool equals_ignoring_case(std::string_view one, std::string_view other) {
  return std::ranges::equal(one, other, {}, lower, lower);
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

std::optional<std::string_view> take_element(std::string_view& list) {
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(','), list.size());
    const std::string_view element = trimmed(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
    if (!element.empty()) return element;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> decimal(std::string_view digits) {
  if (digits.starts_with('0') && digits != "0") return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size() ||
      number > std::numeric_limits<std::int64_t>::max())
    return std::nullopt;
  return number;
}

}  // namespace clonesafe::wire::http1
