#ifndef CLONESAFE_PROXY_PROGRAM_START_COMMANDS_H_
#define CLONESAFE_PROXY_PROGRAM_START_COMMANDS_H_

#include <memory>
#include <vector>

#include "proxy/config/config.h"
#include "proxy/secrets/commands.h"

namespace clonesafe::proxy {

// That its services may have run.
std::vector<CommandConfig> commands_of(const Config& config);

// Starts the process that runs them, as the configuration's user and without any right; null if
// there are none. Before all else, as Commands::start() says.
Result<std::shared_ptr<const Commands>> start_commands(const Config& config);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_PROGRAM_START_COMMANDS_H_
