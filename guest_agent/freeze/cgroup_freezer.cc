#include "guest_agent/freeze/cgroup_freezer.h"

#include "guest_agent/base/files.h"

namespace clonesafe::agent {

Status CgroupFreezer::freeze() {
  held_ = true;
  for (const std::string& folder : folders_) {
    if (auto written = write_in_place(folder + "/cgroup.freeze", "1"); !written) {
      Error error = std::move(written.error());
      // The first error is the one worth telling.
      [[maybe_unused]] const Status undone = thaw();
      return fail(std::move(error));
    }
  }
  return {};
}

void CgroupFreezer::adopt() {
  for (const std::string& folder : folders_) {
    const auto state = read_file(folder + "/cgroup.freeze");
    if (state && trim(*state) == "1") held_ = true;
  }
}

Result<bool> CgroupFreezer::frozen() const {
  for (const std::string& folder : folders_) {
    const auto events = read_file(folder + "/cgroup.events");
    if (!events) return fail(events.error());
    // "populated 1\nfrozen 1\n"
    if (("\n" + *events).find("\nfrozen 1\n") == std::string::npos) return false;
  }
  return true;
}

Status CgroupFreezer::thaw() {
  Status first;
  for (const std::string& folder : folders_) {
    auto written = write_in_place(folder + "/cgroup.freeze", "0");
    if (!written && first) first = std::move(written);
  }
  held_ = false;
  return first;
}

}  // namespace clonesafe::agent
