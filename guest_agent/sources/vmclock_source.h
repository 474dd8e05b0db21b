#ifndef CLONESAFE_GUEST_AGENT_SOURCES_VMCLOCK_SOURCE_H_
#define CLONESAFE_GUEST_AGENT_SOURCES_VMCLOCK_SOURCE_H_

#include <span>
#include <string>

#include "guest_agent/sources/source.h"
#include "libclonesafe/base/mapping.h"
#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/physical/iomem.h"

namespace clonesafe::agent {

// One consistent reading of a VMCLOCK page. Any bytes are safe; the tries are bounded.
Result<VmclockWords> read_vmclock(std::span<const std::byte> page);

// The VMCLOCK page through /dev/mem: on any kernel, driver or not.
class VmclockSource : public Source {
 public:
  static Result<std::unique_ptr<Source>> open(const std::string& memory_device,
                                              const PhysicalRange& range);
  explicit VmclockSource(Mapping mapping) : mapping_(std::move(mapping)) {}
  std::string_view name() const override { return "vmclock"; }
  Status read(Words& words) override;

 private:
  Mapping mapping_;
};

// /dev/vmclock0 (ptp_vmclock, Linux 7.0): the same page, and a descriptor to wait on where the VMM
// notifies (flag 9). Also makes the node readable for every program (0444, never writable):
// libraries in unprivileged processes map it themselves.
class VmclockDeviceSource : public Source {
 public:
  static Result<std::unique_ptr<Source>> open(const std::string& path);
  VmclockDeviceSource(Mapping mapping, UniqueFd fd, bool notifies)
      : mapping_(std::move(mapping)), fd_(std::move(fd)), notifies_(notifies) {}

  std::string_view name() const override { return "vmclock_device"; }
  Status read(Words& words) override;
  // Without flag 9 poll(2) answers POLLHUP at once, for ever.
  int wake_fd() const override { return notifies_ ? fd_.get() : -1; }
  // Only read(2) tells the driver that this descriptor has seen the news.
  Status drain() override;

 private:
  Mapping mapping_;
  UniqueFd fd_;
  bool notifies_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SOURCES_VMCLOCK_SOURCE_H_
