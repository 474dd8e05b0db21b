// helper: a process of the agent's own for what takes long, or needs rights that the agent gives
// up: the programs of hooks, giving back memory before a snapshot, power off. While it works the
// agent goes on looking for restores.
#ifndef CLONESAFE_GUEST_AGENT_HELPER_HELPER_H_
#define CLONESAFE_GUEST_AGENT_HELPER_HELPER_H_

#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {

// Starts it: a fork that keeps the rights of this moment. It ends, and kills what it runs, when the
// last descriptor of the socket that this returns is closed. Before the first thread and before
// anything is mapped or opened that the helper should not have. Hooks are the programs in
// `hook_folder`, for as long as it lives.
Result<UniqueFd> start_helper(const std::string& hook_folder);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_HELPER_HELPER_H_
