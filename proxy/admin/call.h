// admin: what operators ask a proxy that runs, and what they are told: calls, tables, metrics. How
// lines come and go is the API server's of vmm_device/machine.
#ifndef CLONESAFE_PROXY_ADMIN_CALL_H_
#define CLONESAFE_PROXY_ADMIN_CALL_H_

#include <boost/json/object.hpp>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

#include "libclonesafe/base/error.h"

namespace clonesafe::proxy {

enum class CallKind {
  kStatus,
  kSessions,
  kUpstreams,
  kMetrics,
  kPause,  // what applications send is not passed on
  kResume,
  kDrain,  // nobody new; the end comes with the last session
  kFence,  // look for a new generation now
  kReload
};

struct Call {
  CallKind kind = CallKind::kStatus;
  std::size_t limit = 200;                           // of sessions
  std::optional<std::chrono::milliseconds> grace{};  // of drain: then those that are left are reset
};

// {"call": "drain", "grace_ms": 5000}. Anything that is not known is refused.
Result<Call> parse_call(const boost::json::object& request);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_ADMIN_CALL_H_
