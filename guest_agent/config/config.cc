#include "guest_agent/config/config.h"

#include <algorithm>

#include "guest_agent/base/files.h"
#include "libclonesafe/toml/toml_file.h"

namespace clonesafe::agent {
namespace {

using toml_file::number;
using toml_file::Taker;
using toml_file::text;
using toml_file::truth;

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
  const toml_file::Keys keys = {{"name", text(hook.name)},
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
toml_file::Keys keys_of(Config& config) {
  constexpr std::int64_t kMaxCid = 0xffffffff;
  return {
      {"log_level", text(config.log_level)},
      {"page", text(config.page_path)},
      {"control_socket", text(config.control_socket)},
      {"on_failure", toml_file::one_of<FailurePolicy>(config.on_failure,
                                                      {{"continue", FailurePolicy::kContinue},
                                                       {"hold", FailurePolicy::kHold},
                                                       {"poweroff", FailurePolicy::kPowerOff}})},
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

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& name) {
  const auto table = toml_file::parse(text, name);
  if (!table) return fail(table.error());
  Config config;
  if (auto read = toml_file::read(*table, keys_of(config), name); !read) return fail(read.error());
  return config;
}

Result<Config> load_config(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return fail(text.error());
  return parse_config(*text, path);
}

}  // namespace clonesafe::agent
