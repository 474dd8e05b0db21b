#define TOML_EXCEPTIONS 0
#include "guest_agent/config/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <functional>
#include <map>
#include <type_traits>

#include "guest_agent/base/files.h"

namespace clonesafe::agent {
namespace {

std::string place(const std::string& name, const toml::source_region& where) {
  return name + ":" + std::to_string(where.begin.line);
}

// Takes one value out of the file, or says in one line what is wrong with it.
using Taker = std::function<Status(const toml::node&)>;

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

template <typename Number>
Taker number(Number& target, std::int64_t lowest, std::int64_t highest) {
  return [&target, lowest, highest](const toml::node& node) -> Status {
    const auto value = node.value_exact<std::int64_t>();
    if (!value || *value < lowest || *value > highest) {
      return fail("is not a whole number from " + std::to_string(lowest) + " to " +
                  std::to_string(highest));
    }
    target = Number(
        static_cast<std::conditional_t<std::is_integral_v<Number>, Number, std::int64_t>>(*value));
    return {};
  };
}

Taker folders(std::vector<std::string>& target) {
  return [&target](const toml::node& node) -> Status {
    const toml::array* const array = node.as_array();
    if (array == nullptr) return fail("is not a list of folders");
    std::vector<std::string> list;
    for (const toml::node& element : *array) {
      const auto value = element.value_exact<std::string>();
      if (!value || !value->starts_with('/')) return fail("is not a list of absolute folders");
      list.push_back(*value);
    }
    target = std::move(list);
    return {};
  };
}

// Dotted key -> what takes it. The tables of the file are the part before the last dot.
std::map<std::string, Taker, std::less<>> keys_of(Config& config) {
  constexpr std::int64_t kMaxCid = 0xffffffff;
  return {
      {"log_level", text(config.log_level)},
      {"page", text(config.page_path)},
      {"control_socket", text(config.control_socket)},
      {"sources.poll_ms", number(config.poll_interval, 1, 60'000)},
      {"sources.memory", text(config.sources.memory)},
      {"sources.iomem", text(config.sources.iomem)},
      {"sources.acpi_tables", text(config.sources.acpi_tables)},
      {"sources.vmclock_device", text(config.sources.vmclock_device)},
      {"sources.kmsg", text(config.sources.kmsg)},
      {"sources.restore_file", text(config.sources.restore_file)},
      {"host.enabled", truth(config.host.enabled)},
      {"host.cid", number(config.host.cid, 0, kMaxCid)},
      {"host.port", number(config.host.port, 1, kMaxCid)},
      {"host.socket", text(config.host.socket)},
      {"identity.machine_id", text(config.identity.machine_id)},
      {"identity.dbus_machine_id", text(config.identity.dbus_machine_id)},
      {"identity.boot_id", text(config.identity.boot_id)},
      {"identity.boot_id_file", text(config.identity.boot_id_file)},
      {"identity.hostname", text(config.identity.hostname)},
      {"snapshot.freeze", folders(config.snapshot.freeze)},
  };
}

class Reader {
 public:
  Reader(Config& config, const std::string& name) : name_(name), keys_(keys_of(config)) {}

  Status read(const toml::table& table, const std::string& prefix = {}) {
    for (const auto& [key, node] : table) {
      const std::string path = prefix + std::string(key.str());
      if (const auto known = keys_.find(path); known != keys_.end()) {
        if (auto taken = known->second(node); !taken) {
          return fail(place(name_, node.source()) + ": '" + path + "' " + taken.error().message());
        }
        continue;
      }
      const auto inside = keys_.lower_bound(path + ".");
      const bool is_section = inside != keys_.end() && inside->first.starts_with(path + ".");
      const toml::table* const section = node.as_table();
      if (!is_section) return fail(place(name_, key.source()) + ": unknown key '" + path + "'");
      if (section == nullptr) {
        return fail(place(name_, node.source()) + ": '" + path + "' is not a table");
      }
      if (auto read_section = read(*section, path + "."); !read_section) return read_section;
    }
    return {};
  }

 private:
  const std::string& name_;
  std::map<std::string, Taker, std::less<>> keys_;
};

// One line, whatever the parser says.
std::string one_line(std::string_view description) {
  std::string line(description);
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return line;
}

// toml++ 3.3 asserts, or is undefined, where it should refuse: at some characters beyond ASCII
// where a key may stand, and at a table header that doesn't begin with a key ("[=a").
Status refuse_what_breaks_the_parser(std::string_view text, const std::string& name) {
  constexpr std::string_view kKeyBegins =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-\"'";
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto refuse = [&](const char* what) {
      return fail(name + ":" + std::to_string(number) + ": " + what);
    };
    if (std::any_of(line.begin(), line.end(),
                    [](char c) { return static_cast<unsigned char>(c) > 0x7f; })) {
      return refuse("a character that is not ASCII");
    }
    line.remove_prefix(std::min(line.find_first_not_of(" \t\r\v\f"), line.size()));
    if (!line.starts_with('[')) continue;
    line.remove_prefix(line.starts_with("[[") ? 2 : 1);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    if (line.empty() || kKeyBegins.find(line.front()) == std::string_view::npos) {
      return refuse("a table header without a key");
    }
  }
  return {};
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& name) {
  if (auto sane = refuse_what_breaks_the_parser(text, name); !sane) {
    return fail(std::move(sane.error()));
  }
  const toml::parse_result parsed = toml::parse(text, name);
  if (!parsed) {
    return fail(place(name, parsed.error().source()) + ": " +
                one_line(parsed.error().description()));
  }
  Config config;
  Reader reader(config, name);
  if (auto read = reader.read(parsed.table()); !read) return fail(std::move(read.error()));
  return config;
}

Result<Config> load_config(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return fail(text.error());
  return parse_config(*text, path);
}

}  // namespace clonesafe::agent
