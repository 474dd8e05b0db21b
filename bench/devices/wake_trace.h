#ifndef CLONESAFE_BENCH_DEVICES_WAKE_TRACE_H_
#define CLONESAFE_BENCH_DEVICES_WAKE_TRACE_H_

#include <sys/types.h>

#include <string>

namespace clonesafe::bench {

// Who wakes the threads of a process, from construction on, by the kernel's own trace
// (sched_waking). Empty where the kernel has none.
class WakeTrace {
 public:
  explicit WakeTrace(pid_t process);
  ~WakeTrace();
  WakeTrace(const WakeTrace&) = delete;
  WakeTrace& operator=(const WakeTrace&) = delete;

  // A line for each wake-up but a vCPU's: who woke whom.
  std::string lines() const;
};

}  // namespace clonesafe::bench

#endif  // CLONESAFE_BENCH_DEVICES_WAKE_TRACE_H_
