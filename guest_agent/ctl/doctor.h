#ifndef CLONESAFE_GUEST_AGENT_CTL_DOCTOR_H_
#define CLONESAFE_GUEST_AGENT_CTL_DOCTOR_H_

#include <boost/json/object.hpp>
#include <string>
#include <vector>

namespace clonesafe::ctl {

enum class Verdict { kGood, kWeak, kBad };

// One thing that doctor looked at.
struct Finding {
  Verdict verdict = Verdict::kGood;
  std::string what;
  std::string advice;  // what to change; empty where nothing is to be
};

// Judges the agent's status: which tier programs get on this kernel and VMM, what is not safe, and
// what to change. The first finding is the tier.
std::vector<Finding> diagnose(const boost::json::object& status);
// The same of its answer to `hooks`: what is there but would not run.
std::vector<Finding> diagnose_hooks(const boost::json::object& hooks);
// What to say where no agent answers.
std::vector<Finding> diagnose_without_agent(const std::string& reason);

}  // namespace clonesafe::ctl

#endif  // CLONESAFE_GUEST_AGENT_CTL_DOCTOR_H_
