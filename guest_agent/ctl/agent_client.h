// ctl: clonesafectl, by which people and scripts ask the agent.
#ifndef CLONESAFE_GUEST_AGENT_CTL_AGENT_CLIENT_H_
#define CLONESAFE_GUEST_AGENT_CTL_AGENT_CLIENT_H_

#include <boost/json/object.hpp>
#include <chrono>
#include <functional>
#include <string>

#include "libclonesafe/base/error.h"

namespace clonesafe::ctl {

// One request of docs/protocols/agent.md and its answer, which may take `patience` longer than an
// agent that does not hang. A refusal is an error.
Result<boost::json::object> ask(const std::string& socket_path, const boost::json::object& request,
                                std::chrono::milliseconds patience = {});
Result<boost::json::object> ask_status(const std::string& socket_path);

// Calls `event` with each event of the agent, as one line of JSON and taken apart, until it says
// false. Otherwise only an error ends it.
Status watch(const std::string& socket_path,
             const std::function<bool(const std::string& line, const boost::json::object&)>& event);

// What the generation page alone tells, in the same members, where no agent answers.
Result<boost::json::object> read_page_status(const std::string& page_path);

}  // namespace clonesafe::ctl

#endif  // CLONESAFE_GUEST_AGENT_CTL_AGENT_CLIENT_H_
