// freeze: stops the workload for an announced snapshot, and lets it go again when it is repaired.
#ifndef CLONESAFE_GUEST_AGENT_FREEZE_CGROUP_FREEZER_H_
#define CLONESAFE_GUEST_AGENT_FREEZE_CGROUP_FREEZER_H_

#include <string>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// The configured cgroups (version 2), frozen and thawed together. They must hold the workload only:
// never the agent, nor what it waits for.
class CgroupFreezer {
 public:
  explicit CgroupFreezer(std::vector<std::string> folders) : folders_(std::move(folders)) {}

  const std::vector<std::string>& folders() const { return folders_; }
  // Asks the kernel to freeze; it happens a little later. If one can't be asked, none stays frozen.
  Status freeze();
  // Whether every task in every one of them stands still.
  Result<bool> frozen() const;
  // Lets all go. All are tried; the error is the first one.
  Status thaw();
  // Takes over what an earlier agent froze, so that `thaw` lets it go.
  void adopt();
  // Whether freeze was asked for and thaw was not yet.
  bool held() const { return held_; }

 private:
  std::vector<std::string> folders_;
  bool held_ = false;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_FREEZE_CGROUP_FREEZER_H_
