#include "libclonesafe/toml/toml_file.h"

#include <algorithm>

namespace clonesafe::toml_file {
namespace {

// One line, whatever the parser says.
std::string one_line(std::string_view description) {
  std::string line(description);
  std::ranges::replace_if(line, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return line;
}

Status refuse_beyond_ascii(std::string_view text, const std::string& name) {
  const auto beyond =
      std::ranges::find_if(text, [](char c) { return static_cast<unsigned char>(c) > 0x7f; });
  if (beyond == text.end()) return {};
  const auto line = 1 + std::count(text.begin(), beyond, '\n');
  const std::size_t start =
      text.substr(0, static_cast<std::size_t>(beyond - text.begin())).rfind('\n');
  const auto column = static_cast<std::size_t>(beyond - text.begin()) - (start + 1) + 1;
  return fail(name + ":" + std::to_string(line) + ":" + std::to_string(column) +
              ": a character that is not ASCII");
}

Status read_section(const toml::table& table, const Keys& keys, const std::string& name,
                    const std::string& prefix) {
  for (const auto& [key, node] : table) {
    const std::string path = prefix + std::string(key.str());
    if (const auto known = keys.find(path); known != keys.end()) {
      if (auto taken = known->second(node); !taken)
        return fail(place(name, node.source()) + ": '" + path + "' " + taken.error().message());
      continue;
    }
    const auto inside = keys.lower_bound(path + ".");
    const bool is_section = inside != keys.end() && inside->first.starts_with(path + ".");
    if (!is_section) return fail(place(name, key.source()) + ": unknown key '" + path + "'");
    const toml::table* const section = node.as_table();
    if (section == nullptr)
      return fail(place(name, node.source()) + ": '" + path + "' is not a table");
    if (auto done = read_section(*section, keys, name, path + "."); !done) return done;
  }
  return {};
}

}  // namespace

std::string place(const std::string& name, const toml::source_region& where) {
  return name + ":" + std::to_string(where.begin.line) + ":" + std::to_string(where.begin.column);
}

Result<toml::table> parse(std::string_view text, const std::string& name) {
  if (auto ascii = refuse_beyond_ascii(text, name); !ascii) return fail(std::move(ascii.error()));
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return fail(place(name, error.source()) + ": " + one_line(error.description()));
  } catch (const std::logic_error& error) {
    return fail(name + ": " + error.what());
  }
}

Taker text(std::string& target) {
  return [&target](const toml::node& node) -> Status {
    const auto value = node.value_exact<std::string>();
    if (!value) return fail("is not a string");
    target = *value;
    return {};
  };
}

Taker truth(bool& target) {
  return [&target](const toml::node& node) -> Status {
    const auto value = node.value_exact<bool>();
    if (!value) return fail("is not true or false");
    target = *value;
    return {};
  };
}

Taker texts(std::vector<std::string>& target) {
  return [&target](const toml::node& node) -> Status {
    const toml::array* const array = node.as_array();
    std::vector<std::string> list;
    if (array != nullptr) {
      for (const toml::node& element : *array) {
        const auto value = element.value_exact<std::string>();
        if (!value) return fail("is not a list of strings");
        list.push_back(*value);
      }
    } else if (const auto one = node.value_exact<std::string>()) {
      list.push_back(*one);
    } else {
      return fail("is not a list of strings");
    }
    target = std::move(list);
    return {};
  };
}

Status read(const toml::table& table, const Keys& keys, const std::string& name) {
  return read_section(table, keys, name, "");
}

}  // namespace clonesafe::toml_file
