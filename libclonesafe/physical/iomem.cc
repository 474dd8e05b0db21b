#include "libclonesafe/physical/iomem.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace clonesafe {
namespace {

// As string_view::substr, without the exception that it would throw.
std::string_view first(std::string_view text, std::size_t count) {
  return {text.data(), std::min(count, text.size())};
}
std::string_view after(std::string_view text, std::size_t count) {
  text.remove_prefix(std::min(count, text.size()));
  return text;
}

bool is_hex_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

std::string_view trim(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

bool is_device(std::string_view name, std::string_view hid) {
  if (!name.starts_with(hid)) return false;
  name.remove_prefix(hid.size());
  // The instance: ":00".
  return name.size() > 1 && name.front() == ':' &&
         std::all_of(name.begin() + 1, name.end(), is_hex_digit);
}

std::optional<std::uint64_t> address(std::string_view text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, 16);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

}  // namespace

IomemEntry find_in_iomem(std::string_view iomem, std::string_view hid) {
  while (!iomem.empty()) {
    const std::size_t end = std::min(iomem.find('\n'), iomem.size());
    const std::string_view line = trim(first(iomem, end));
    iomem = after(iomem, end + 1);

    const std::size_t colon = line.find(" : ");
    if (colon == std::string_view::npos || !is_device(trim(after(line, colon + 3)), hid)) continue;
    const std::string_view range = trim(first(line, colon));
    const std::size_t dash = std::min(range.find('-'), range.size());
    const auto start = address(first(range, dash));
    const auto last = address(after(range, dash + 1));
    using enum IomemEntry::Condition;
    if (!start || !last || *last < *start) return {.condition = kMalformed, .line = line};
    if (*last == 0) return {.condition = kHidden, .line = line};
    return {
        .condition = kFound, .range = {.start = *start, .size = *last - *start + 1}, .line = line};
  }
  return {};
}

}  // namespace clonesafe
