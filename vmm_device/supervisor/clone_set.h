#ifndef CLONESAFE_VMM_DEVICE_SUPERVISOR_CLONE_SET_H_
#define CLONESAFE_VMM_DEVICE_SUPERVISOR_CLONE_SET_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libclonesafe/base/mapping.h"
#include "vmm_device/supervisor/clone_status.h"
#include "vmm_device/supervisor/run_dir.h"
#include "vmm_device/supervisor/spawn.h"
#include "vmm_device/supervisor/supervisor.h"
#include "vmm_device/supervisor/terminal.h"

namespace clonesafe::supervisor {

// What the clones' jails record, in memory that they and this process share.
class SharedViolations {
 public:
  static Result<SharedViolations> create(std::uint32_t clones);
  jail::Violation& of(std::uint32_t index) const;  // from 1

 private:
  Mapping mapping_;
};

// The clones of one restore, from their first fork to the end of the last. One thread.
class CloneSet {
 public:
  CloneSet(const RestoreOptions& options, Wait wait, const RunDir& run_dir,
           const SharedViolations& violations, Terminal& terminal);
  CloneSet(const CloneSet&) = delete;
  CloneSet& operator=(const CloneSet&) = delete;
  // Leaves no process behind.
  ~CloneSet();

  // Starts the next clone; what of `request` differs from clone to clone is filled in here.
  Status start(CloneRequest request, const RunClone& run_clone);
  // Watches the clones until all have ended, and prints each one's line when its turn has come.
  // `signals` is a signalfd of what shall stop them. Returns the exit code.
  int watch(int signals);

 private:
  struct Clone {
    CloneStatus status;
    ClonePipe pipe;
    std::filesystem::path folder;
    std::string unread = {};
    bool gone = false;  // reaped
  };
  enum class Phase { running, asked_to_stop, killed };

  void poll_once(int signals);
  int poll_timeout_ms() const;
  void read_events(Clone& clone);
  void take_lines(Clone& clone);
  void take_end(Clone& clone);
  std::string reason_of(const Clone& clone, const ProcessEnd& end) const;
  void on_signal(int signals);
  void on_time();
  void stop();
  void kill_all();
  void write_status_file(const Clone& clone);
  // The clone has come as far as the restore waits for.
  bool arrived(const Clone& clone) const;
  // Its line can be printed: it has arrived, or there is nothing more to wait for.
  bool settled(const Clone& clone) const;
  void print_settled();
  void show_progress();
  std::size_t alive() const;

  const RestoreOptions& options_;
  const Wait wait_;
  const RunDir& run_dir_;
  const SharedViolations& violations_;
  Terminal& terminal_;
  std::vector<Clone> clones_;
  std::size_t printed_ = 0;
  Phase phase_ = Phase::running;
  bool failed_ = false;
  std::optional<std::uint64_t> wait_until_us_;  // nothing once all have arrived
  std::optional<std::uint64_t> kill_at_us_;
};

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_VMM_DEVICE_SUPERVISOR_CLONE_SET_H_
