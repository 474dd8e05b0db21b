#ifndef CLONESAFE_PROXY_PROTOCOLS_REDIS_COMMAND_KINDS_H_
#define CLONESAFE_PROXY_PROTOCOLS_REDIS_COMMAND_KINDS_H_

#include <string>
#include <vector>

#include "proxy/wire/resp/commands.h"
#include "proxy/wire/resp/reply_framer.h"

namespace clonesafe::proxy::redis {

// Whether sending it twice is the same as sending it once, and what it gives isn't used up.
bool is_repeatable(const wire::resp::CommandInfo& command);

bool subscribes(wire::resp::Command command);
// What tells that one channel of such a command is there, or gone; kNone for any other command.
wire::resp::PushKind confirmation_of(wire::resp::Command command);

// Behind it replies can't be told apart any more, or are none. `arguments` has the name first.
bool opens_tunnel(wire::resp::Command command, const std::vector<std::string>& arguments,
                  bool in_transaction);

}  // namespace clonesafe::proxy::redis

#endif  // CLONESAFE_PROXY_PROTOCOLS_REDIS_COMMAND_KINDS_H_
