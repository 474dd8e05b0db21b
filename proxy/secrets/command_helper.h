#ifndef CLONESAFE_PROXY_SECRETS_COMMAND_HELPER_H_
#define CLONESAFE_PROXY_SECRETS_COMMAND_HELPER_H_

#include <sys/types.h>

#include <functional>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"
#include "proxy/config/config.h"

namespace clonesafe::proxy {

// The process that runs commands, from its fork to its end, which comes with the end of `parent` or
// of the socket's other side. Holds standard error and the socket, and no other descriptor. Says
// first, in one message, that it is ready (kCommandsReady) or why it isn't.
[[noreturn]] void serve_commands(UniqueFd socket, const std::vector<CommandConfig>& commands,
                                 const std::function<Status()>& give_up, pid_t parent);

inline constexpr std::string_view kCommandsReady = "ready";

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SECRETS_COMMAND_HELPER_H_
