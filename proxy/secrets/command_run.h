#ifndef CLONESAFE_PROXY_SECRETS_COMMAND_RUN_H_
#define CLONESAFE_PROXY_SECRETS_COMMAND_RUN_H_

#include "libclonesafe/base/unique_fd.h"
#include "proxy/config/config.h"

namespace clonesafe::proxy {

// Runs a command in a process group of its own, without input and with an environment of nothing
// but a PATH, and writes the answer to its request. When it returns all processes of that group are
// gone. Past the command's time, beyond the limit of its output, or when nobody waits for the
// answer, they are killed. For a process of its own, with one thread, which adopts what the command
// leaves behind.
void run_command(const CommandConfig& command, const UniqueFd& answer);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SECRETS_COMMAND_RUN_H_
