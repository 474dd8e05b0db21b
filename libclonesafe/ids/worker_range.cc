#include "libclonesafe/ids/worker_range.h"

#include <charconv>

namespace clonesafe::ids {
namespace {

constexpr std::string_view kName = "clonesafe_worker_ids";

// What may stand in a word or a number: next to the name or the range, it makes another of it.
bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.';
}
bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
bool is_between(char c) {
  return is_blank(c) || c == '"' || c == '\'' || c == ':' || c == '=';
}

template <typename Condition>
void skip(std::string_view& text, Condition condition) {
  while (!text.empty() && condition(text.front())) text.remove_prefix(1);
}

bool take_number(std::string_view& text, std::uint64_t& number) {
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  return true;
}

bool take_range(std::string_view text, WorkerRange& range) {
  skip(text, is_between);
  if (!take_number(text, range.first)) return false;
  range.last = range.first;
  std::string_view rest = text;
  skip(rest, is_blank);
  if (!rest.empty() && rest.front() == '-') {
    rest.remove_prefix(1);
    skip(rest, is_blank);
    if (!take_number(rest, range.last)) return false;
    text = rest;
  }
  return (text.empty() || !is_word(text.front())) && range.first <= range.last;
}

}  // namespace

RangeCondition find_worker_range(std::string_view document, WorkerRange& range) {
  RangeCondition found = RangeCondition::kAbsent;
  bool in_word = false;
  while (!document.empty()) {
    const bool starts = !in_word && document.starts_with(kName);
    in_word = is_word(document.front());
    document.remove_prefix(starts ? kName.size() : 1);
    if (!starts || (!document.empty() && is_word(document.front()))) continue;
    if (found != RangeCondition::kAbsent) return RangeCondition::kMalformed;
    found = take_range(document, range) ? RangeCondition::kFound : RangeCondition::kMalformed;
  }
  return found;
}

}  // namespace clonesafe::ids
