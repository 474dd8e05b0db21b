// toml: configuration files of the programs, read so that every mistake is one line that names the
// file, the line and column, and the key. Include it only where a configuration is parsed.
#ifndef CLONESAFE_TOML_TOML_FILE_H_
#define CLONESAFE_TOML_TOML_FILE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "libclonesafe/base/error.h"

// toml++ 3.3 meets some bad files ("a=[}", a table header without a key) with an assertion where it
// should refuse, and is undefined there without assertions. Here such an assertion is an exception,
// in every build, and parse() makes a refusal of it.
namespace clonesafe::toml_file {
[[noreturn]] inline void refuse_what_the_parser_asserts() {
  throw std::logic_error("is not TOML");
}
}  // namespace clonesafe::toml_file
#undef NDEBUG
#define TOML_EXCEPTIONS 1
#define TOML_ASSERT(expression) \
  (static_cast<bool>(expression) ? void() : clonesafe::toml_file::refuse_what_the_parser_asserts())
#include <toml++/toml.h>

namespace clonesafe::toml_file {

// "FILE:LINE:COLUMN"
std::string place(const std::string& name, const toml::source_region& where);

// The file's tables. ASCII alone: toml++ 3.3 is undefined at some characters beyond it where a key
// may stand.
Result<toml::table> parse(std::string_view text, const std::string& name);

// Takes one value out of the file, or says in a few words what is wrong with it, to be put behind
// the key's name.
using Taker = std::function<Status(const toml::node&)>;

Taker text(std::string& target);
Taker truth(bool& target);
Taker texts(std::vector<std::string>& target);

// Also for std::chrono durations and std::optional of either.
template <typename Number>
Taker number(Number& target, std::int64_t lowest, std::int64_t highest) {
  return [&target, lowest, highest](const toml::node& node) -> Status {
    const auto value = node.value_exact<std::int64_t>();
    if (!value || *value < lowest || *value > highest)
      return fail("is not a whole number from " + std::to_string(lowest) + " to " +
                  std::to_string(highest));
    target = Number(
        static_cast<std::conditional_t<std::is_integral_v<Number>, Number, std::int64_t>>(*value));
    return {};
  };
}

// One of some words, each with what it stands for.
template <typename Value>
Taker one_of(Value& target, std::vector<std::pair<std::string, Value>> words) {
  return [&target, words = std::move(words)](const toml::node& node) -> Status {
    const auto value = node.value_exact<std::string>();
    std::string known;
    for (const auto& [word, meaning] : words) {
      if (value == word) {
        target = meaning;
        return {};
      }
      known += (known.empty() ? "\"" : ", \"") + word + "\"";
    }
    return fail("is none of " + known);
  };
}

// Dotted key -> what takes it. The tables of the file are the part before the last dot.
using Keys = std::map<std::string, Taker, std::less<>>;

// Has every key of the table taken; an unknown one, or a wrong value, is the first error.
Status read(const toml::table& table, const Keys& keys, const std::string& name);

}  // namespace clonesafe::toml_file

#endif  // CLONESAFE_TOML_TOML_FILE_H_
