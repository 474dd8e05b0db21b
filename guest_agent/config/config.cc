#include "guest_agent/config/config.h"

#include <algorithm>
#include <functional>
#include <map>
#include <stdexcept>
#include <type_traits>

#include "guest_agent/base/files.h"

// toml++ 3.3 meets some bad files ("a=[}", a table header without a key) with an assertion where it
// should refuse, and is undefined there without assertions. Here such an assertion is an exception,
// in every build, and parse_config makes a refusal of it.
[[noreturn]] static void refuse_what_the_parser_asserts() {
  throw std::logic_error("is not TOML");
}
#undef NDEBUG
#define TOML_EXCEPTIONS 1
#define TOML_ASSERT(expression) \
  (static_cast<bool>(expression) ? void() : refuse_what_the_parser_asserts())
#include <toml++/toml.h>

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

Taker policy(FailurePolicy& target) {
  return [&target](const toml::node& node) -> Status {
    const auto value = node.value_exact<std::string>();
    for (const auto& [name, policy] : {std::pair{"continue", FailurePolicy::kContinue},
                                       {"hold", FailurePolicy::kHold},
                                       {"poweroff", FailurePolicy::kPowerOff}}) {
      if (value != name) continue;
      target = policy;
      return {};
    }
    return fail("is not \"continue\", \"hold\" or \"poweroff\"");
  };
}

Taker http_path(std::string& target) {
  return [&target](const toml::node& node) -> Status {
    const auto value = node.value_exact<std::string>();
    const auto odd = [](char c) { return c <= ' ' || c > '~'; };
    if (!value || !value->starts_with('/') || std::ranges::any_of(*value, odd))
      return fail("is not a path like \"/after-restore\"");
    target = *value;
    return {};
  };
}

// One table of the list hooks.http.
Result<HttpHook> http_hook(const toml::table& table) {
  HttpHook hook;
  const std::map<std::string, Taker, std::less<>> keys = {
      {"name", text(hook.name)},
      {"port", number(hook.port, 1, 65535)},
      {"before_snapshot", http_path(hook.before_snapshot)},
      {"after_restore", http_path(hook.after_restore)},
      {"deadline_ms", number(hook.deadline, 1, 600'000)}};
  for (const auto& [key, node] : table) {
    const auto known = keys.find(key.str());
    if (known == keys.end()) return fail("has an unknown key '" + std::string(key.str()) + "'");
    if (auto taken = known->second(node); !taken)
      return fail("has '" + known->first + "', which " + taken.error().message());
  }
  if (hook.port == 0) return fail("has no 'port'");
  if (hook.before_snapshot.empty() && hook.after_restore.empty())
    return fail("has neither 'before_snapshot' nor 'after_restore'");
  if (hook.name.empty()) hook.name = std::to_string(hook.port);
  return hook;
}

Taker http_hooks(std::vector<HttpHook>& target) {
  return [&target](const toml::node& node) -> Status {
    const toml::array* const array = node.as_array();
    if (array == nullptr) return fail("is not a list of tables");
    std::vector<HttpHook> list;
    for (const toml::node& element : *array) {
      const toml::table* const table = element.as_table();
      if (table == nullptr) return fail("is not a list of tables");
      auto hook = http_hook(*table);
      if (!hook) return fail(hook.error());
      list.push_back(std::move(*hook));
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
      {"on_failure", policy(config.on_failure)},
      {"control_group", text(config.control_group)},
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
      {"clock.step", truth(config.step_clock)},
      {"identity.machine_id", text(config.identity.machine_id)},
      {"identity.dbus_machine_id", text(config.identity.dbus_machine_id)},
      {"identity.boot_id", text(config.identity.boot_id)},
      {"identity.boot_id_file", text(config.identity.boot_id_file)},
      {"identity.hostname", text(config.identity.hostname)},
      {"identity.metadata_file", text(config.identity.metadata_file)},
      {"network.by_document", truth(config.set_network)},
      {"snapshot.freeze", folders(config.snapshot.freeze)},
      {"snapshot.drop_caches", truth(config.snapshot.drop_caches)},
      {"snapshot.reclaim_ms", number(config.snapshot.reclaim, 0, 600'000)},
      {"hooks.folder", text(config.hooks.folder)},
      {"hooks.deadline_ms", number(config.hooks.each, 1, 600'000)},
      {"hooks.all_deadline_ms", number(config.hooks.all, 1, 3'600'000)},
      {"hooks.http", http_hooks(config.hooks.http)},
      {"hooks.watchers_deadline_ms", number(config.hooks.watchers, 1, 600'000)},
      {"metrics.socket", text(config.metrics.socket)},
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

// toml++ 3.3 is undefined at some characters beyond ASCII where a key may stand.
Status refuse_beyond_ascii(std::string_view text, const std::string& name) {
  const auto beyond =
      std::ranges::find_if(text, [](char c) { return static_cast<unsigned char>(c) > 0x7f; });
  if (beyond == text.end()) return {};
  const auto line = 1 + std::count(text.begin(), beyond, '\n');
  return fail(name + ":" + std::to_string(line) + ": a character that is not ASCII");
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& name) {
  if (auto ascii = refuse_beyond_ascii(text, name); !ascii) return fail(std::move(ascii.error()));
  toml::table table;
  try {
    table = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return fail(place(name, error.source()) + ": " + one_line(error.description()));
  } catch (const std::logic_error& error) {
    return fail(name + ": " + error.what());
  }
  Config config;
  Reader reader(config, name);
  if (auto read = reader.read(table); !read) return fail(std::move(read.error()));
  return config;
}

Result<Config> load_config(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return fail(text.error());
  return parse_config(*text, path);
}

}  // namespace clonesafe::agent
