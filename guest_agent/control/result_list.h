#ifndef CLONESAFE_GUEST_AGENT_CONTROL_RESULT_LIST_H_
#define CLONESAFE_GUEST_AGENT_CONTROL_RESULT_LIST_H_

#include <boost/json/array.hpp>
#include <string>
#include <vector>

#include "guest_agent/repairs/repair.h"

namespace clonesafe::agent {

// Results as both of the agent's protocols show them.
inline boost::json::array result_list(const std::vector<RepairResult>& results) {
  boost::json::array list;
  for (const RepairResult& result : results) {
    list.push_back({{"name", result.name},
                    {"result", std::string(name_of(result.outcome))},
                    {"us", result.us},
                    {"detail", result.detail}});
  }
  return list;
}

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CONTROL_RESULT_LIST_H_
