#ifndef CLONESAFE_GUEST_AGENT_SOURCES_VMGENID_SOURCE_H_
#define CLONESAFE_GUEST_AGENT_SOURCES_VMGENID_SOURCE_H_

#include "guest_agent/sources/source.h"
#include "libclonesafe/base/mapping.h"
#include "libclonesafe/physical/acpi_vmgenid.h"

namespace clonesafe::agent {

// The VM generation id in the guest's memory, on any VMM and whether or not the kernel has a driver
// for it. Two 64-bit loads can't be torn by a restore: the VMM writes while no vCPU runs, and if it
// wrote between the two loads the second read of this source agrees with itself.
class VmgenidSource : public Source {
 public:
  static Result<std::unique_ptr<Source>> open(const std::string& memory_device,
                                              const VmgenidLocation& location);

  std::string_view name() const override { return "vmgenid"; }
  Status read(Words& words) override;

 private:
  Mapping mapping_;
  std::size_t offset_ = 0;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SOURCES_VMGENID_SOURCE_H_
