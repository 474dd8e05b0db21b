#ifndef CLONESAFE_VMM_DEVICE_SUPERVISOR_CLONE_STATUS_H_
#define CLONESAFE_VMM_DEVICE_SUPERVISOR_CLONE_STATUS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm_device/supervisor/clone_process.h"

namespace clonesafe::supervisor {

// What the supervisor knows of one clone, from the lines that its process sent.
class CloneStatus {
 public:
  CloneStatus(std::uint32_t index, std::uint64_t requested_us)
      : index_(index), requested_us_(requested_us) {}

  // Takes one line of CloneEvents. The process that sent it works on what its guest says, so the
  // line is as untrusted as that.
  Status take(std::string_view line);
  // The process has ended; `ok` and `reason` stand in for an `ended` line if there was none.
  void end(bool ok, const std::string& reason);

  std::uint32_t index() const { return index_; }
  bool running() const { return running_us_.has_value(); }
  bool exited_to_vmm() const { return first_exit_us_.has_value(); }
  std::optional<std::uint64_t> running_at() const { return running_us_; }
  bool reported() const { return safe_us_.has_value(); }
  bool safe() const { return reported() && state_ == "safe"; }
  bool ended() const { return end_.has_value(); }
  bool ended_well() const { return end_ && end_->ok; }
  const std::string& reason() const;
  // "started", "running", "safe", "degraded", "ended", "failed".
  std::string_view state() const;
  // "kernel_rng failed (EPERM), ...": the repairs that did not go well.
  std::string failed_repairs() const;

  // One line for people, and the object of `--json`, whose members design and manual name. `extra`
  // is false: only those; true: also what clone.json has.
  std::string line() const;
  std::string json(bool extra, std::int64_t pid = 0) const;

 private:
  struct End {
    bool ok;
    std::string reason;
  };
  std::optional<std::uint64_t> restore_us() const;
  std::optional<std::uint64_t> first_exit_us() const;
  std::optional<std::uint64_t> safe_us() const;

  std::uint32_t index_;
  std::uint64_t requested_us_;
  std::string vm_generation_id_;
  std::string generation_;
  std::optional<std::uint64_t> loaded_us_;  // monotonic, as all of these
  std::optional<std::uint64_t> running_us_;
  std::optional<std::uint64_t> first_exit_us_;
  std::optional<std::uint64_t> safe_us_;
  std::string state_;
  std::vector<Repair> repairs_;
  std::optional<HeldByClone> held_;
  std::optional<End> end_;
};

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_VMM_DEVICE_SUPERVISOR_CLONE_STATUS_H_
