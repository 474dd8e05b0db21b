#ifndef CLONESAFE_CORE_SECRET_AGENT_H_
#define CLONESAFE_CORE_SECRET_AGENT_H_

namespace clonesafe::core {

// Asks clonesafed for a page that its host keeps out of every snapshot, and gives the open file of
// it (docs/protocols/agent.md). 0, CS_E_LIMIT, or CS_E_NOT_COVERED: there is no agent, or it can't.
// Waits for it for at most 12 seconds.
int ask_agent_for_secret(int& file);

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_SECRET_AGENT_H_
