#ifndef CLONESAFE_GUEST_AGENT_CTL_TABLES_H_
#define CLONESAFE_GUEST_AGENT_CTL_TABLES_H_

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "guest_agent/ctl/doctor.h"

namespace clonesafe::ctl {

// Whether the agent said so in plain words: absent, or of another type, is not true.
bool is_true(const boost::json::object& object, const char* name);

// What people read; `color` for a terminal.
std::string status_table(const boost::json::object& status, bool color);
std::string doctor_table(const boost::json::object& status, const std::vector<Finding>& findings,
                         bool color);
std::string steps_table(const boost::json::object& prepared, bool color);
std::string hooks_table(const boost::json::object& hooks, bool color);
std::string event_line(const boost::json::object& event, bool color);
std::string doctor_json(const boost::json::object& status, const std::vector<Finding>& findings);

}  // namespace clonesafe::ctl

#endif  // CLONESAFE_GUEST_AGENT_CTL_TABLES_H_
