#ifndef CLONESAFE_CORE_AGENT_SOCKET_H_
#define CLONESAFE_CORE_AGENT_SOCKET_H_

#include <ctime>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::core {

// A socket for clonesafed (docs/protocols/agent.md) that waits `seconds` at most for anything.
UniqueFd make_agent_socket(std::time_t seconds);
// Connects it. False: no agent answers.
bool connect_to_agent(int socket);

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_AGENT_SOCKET_H_
