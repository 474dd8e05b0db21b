// audit/guest: what runs inside the audited guest: it starts the probes, and hands their logs out
// afterwards.
#ifndef CLONESAFE_TESTS_AUDIT_GUEST_WORKLOAD_H_
#define CLONESAFE_TESTS_AUDIT_GUEST_WORKLOAD_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/mapping.h"
#include "tests/audit/probe_log.h"

namespace clonesafe::audit {

// One line of a probes list: `NAME[,NAME]...[*THREADS] WARM_DRAWS COMMAND [ARGUMENT]...`.
struct ProbeSpec {
  std::string name;               // as it stands there
  std::vector<std::string> logs;  // each NAME; with THREADS NAME.1 of all names, then NAME.2 of all
  std::uint64_t warm_draws = 0;   // of each log
  std::vector<std::string> command;
};

Result<std::vector<ProbeSpec>> parse_probe_list(std::string_view text);

struct WorkloadOptions {
  std::string folder;  // where the logs are made; a tmpfs
  std::string cgroup;  // the workload's cgroup v2 folder; made if absent
  uid_t user = 0;      // the probes' user and group
};

// The probes of this guest: their logs, mapped, and their processes.
class Workload {
 public:
  static Result<Workload> start(std::vector<ProbeSpec> probes, WorkloadOptions options);

  // Waits until every probe has completed its warm-up draws, and all draw at the same time; names
  // the ones that don't. A probe that is warm is stopped meanwhile: on an emulated machine those
  // that spin between their draws would leave the ones that still load no time.
  Status wait_warm(std::chrono::milliseconds limit);
  // Lets the probes go on until each log has `draws` more values than at the call (or as many as
  // its warm-up has, if that is less), and stops each there. An error names those that had not when
  // the limit passed. All are stopped afterwards: a machine that has been read needs no more
  // values, and its siblings need the processor.
  Status wait_advanced(std::uint64_t draws, std::chrono::milliseconds limit);

  // Stops all probes where they are, so that a log is read whole, and lets them go on.
  Status freeze();
  Status thaw();

  // "NAME: exit code 1" for each probe that has ended, in words.
  std::vector<std::string> ended();

  std::size_t size() const { return logs_.size(); }
  const std::string& name(std::size_t index) const { return logs_[index].name; }
  // Header and the records in use.
  std::string_view log(std::size_t index) const;

 private:
  struct Probe {
    ProbeSpec spec;
    pid_t pid = 0;
    std::string end;  // how it ended, if it has
  };
  struct Log {
    std::string name;
    std::size_t probe;  // its index
    Mapping memory;
  };

  using Clock = std::chrono::steady_clock;

  // Makes the logs of the probe that is started next; returns their paths.
  Result<std::vector<std::string>> make_logs(const ProbeSpec& spec);
  // Waits until each log is at its goal; with `stop_arrived` each probe is stopped there.
  Status wait_for(const std::vector<std::uint64_t>& goals, Clock::time_point until,
                  bool stop_arrived);
  // The same, and leaves all stopped, also those that didn't arrive.
  Status run_to(const std::vector<std::uint64_t>& goals, Clock::time_point until);
  void go_on();
  void signal_probe(const Probe& probe, int signal);
  const ProbeSpec& spec_of(std::size_t log) const { return probes_[logs_[log].probe].spec; }
  Status set_frozen(bool frozen);
  const ProbeLogHeader& header(std::size_t index) const;
  std::uint64_t completed(std::size_t index) const;

  WorkloadOptions options_;
  std::vector<Probe> probes_;
  std::vector<Log> logs_;
};

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_GUEST_WORKLOAD_H_
