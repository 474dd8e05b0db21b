#ifndef CLONESAFE_VMM_DEVICE_SUPERVISOR_SPAWN_H_
#define CLONESAFE_VMM_DEVICE_SUPERVISOR_SPAWN_H_

#include <sys/types.h>

#include <span>

#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/supervisor/clone_process.h"

namespace clonesafe::supervisor {

// A running clone process, from its parent's side.
struct ClonePipe {
  pid_t pid = -1;
  UniqueFd process;  // pidfd
  UniqueFd events;   // its lines; doesn't block
};

// Forks a process that runs the clone and then ends; stop_fd of `request` is made there. The
// caller's fds in `close_in_child` are the parent's own business and are closed there. The process
// dies with its parent, whatever happens. Called with SIGTERM blocked: a stop that comes before the
// clone looks for it must not be lost.
Result<ClonePipe> spawn_clone(const CloneRequest& request, const RunClone& run_clone,
                              std::span<const int> close_in_child);

// Waits for a process whose pidfd is readable. How it ended, in words, and whether that was exit
// status 0.
struct ProcessEnd {
  bool ok = false;
  std::string reason;
  int signal = 0;  // that ended it, if one did
};
Result<ProcessEnd> reap(const ClonePipe& clone);

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_VMM_DEVICE_SUPERVISOR_SPAWN_H_
