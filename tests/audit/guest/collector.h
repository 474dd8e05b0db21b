// Answers requests for everything that an audit compares: the probes' logs, the machine's identity,
// the agent's status.
//
// One request is one line, `collect DRAWS LIMIT_MS\n`: wait until every probe has drawn DRAWS more
// values, or as many as its warm-up has, stop each there, answer; an error names the probes that
// had not after LIMIT_MS. The next request lets the probes go on. The answer is a series of `file
// NAME SIZE\n` + SIZE bytes, and `end\n`. Names: `log/PROBE`,
// `identity/machine-id|boot-id|hostname|uuid`, `agent.json` (clonesafectl status --json; empty
// without an agent), `ended` (one line for each probe that has ended). A request that can't be
// answered gets `error TEXT\n`.
#ifndef CLONESAFE_TESTS_AUDIT_GUEST_COLLECTOR_H_
#define CLONESAFE_TESTS_AUDIT_GUEST_COLLECTOR_H_

#include "tests/audit/guest/workload.h"

namespace clonesafe::audit {

inline constexpr unsigned kCollectorPort = 5000;
inline constexpr const char* kCollectorDevice = "clonesafe.audit";

// Serves for ever on vsock port kCollectorPort (if the guest has vsock) and on the virtio-serial
// port named kCollectorDevice (if there is one), one request at a time.
Status serve_collections(Workload& workload);

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_GUEST_COLLECTOR_H_
