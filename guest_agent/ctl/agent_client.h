// ctl: clonesafectl, by which people and scripts ask the agent.
#ifndef CLONESAFE_GUEST_AGENT_CTL_AGENT_CLIENT_H_
#define CLONESAFE_GUEST_AGENT_CTL_AGENT_CLIENT_H_

#include <boost/json/object.hpp>
#include <string>

#include "libclonesafe/base/error.h"

namespace clonesafe::ctl {

// Asks the agent for its status, as docs/protocols/agent.md has it.
Result<boost::json::object> ask_status(const std::string& socket_path);

// What the generation page alone tells, in the same members, where no agent answers.
Result<boost::json::object> read_page_status(const std::string& page_path);

}  // namespace clonesafe::ctl

#endif  // CLONESAFE_GUEST_AGENT_CTL_AGENT_CLIENT_H_
