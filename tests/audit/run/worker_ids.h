// Gives Snowflake worker ids to all machines of an audit: each id once, to whoever asks.
#ifndef CLONESAFE_TESTS_AUDIT_RUN_WORKER_IDS_H_
#define CLONESAFE_TESTS_AUDIT_RUN_WORKER_IDS_H_

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <set>
#include <thread>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::audit {

inline constexpr unsigned kWorkerIdPort = 5003;  // a guest's, of the host; probe_library asks there

class WorkerIds {
 public:
  // From now on, answers whoever connects through the vsock socket at `vsock` from inside its
  // machine, with a line that holds an id. Each machine has a socket of its own in a folder of its
  // own. False while that folder isn't there.
  Result<bool> serve(const std::filesystem::path& vsock);

 private:
  std::atomic<std::uint64_t> next_ = 0;
  std::set<std::filesystem::path> served_;
  std::vector<std::jthread> threads_;
};

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_RUN_WORKER_IDS_H_
