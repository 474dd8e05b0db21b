#include "proxy/program/start_commands.h"

#include <algorithm>

#include "proxy/program/rights.h"

namespace clonesafe::proxy {

std::vector<CommandConfig> commands_of(const Config& config) {
  std::vector<CommandConfig> all;
  for (const ServiceConfig& service : config.services) {
    const CommandConfig& command = service.postgres.users_command;
    if (service.protocol != Protocol::kPostgres || command.words.empty()) continue;
    if (std::ranges::find(all, command) == all.end()) all.push_back(command);
  }
  return all;
}

Result<std::shared_ptr<const Commands>> start_commands(const Config& config) {
  std::vector<CommandConfig> commands = commands_of(config);
  if (commands.empty()) return nullptr;
  return Commands::start(std::move(commands), [&config] { return drop_all_rights(config.user); });
}

}  // namespace clonesafe::proxy
