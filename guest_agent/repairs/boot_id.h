#ifndef CLONESAFE_GUEST_AGENT_REPAIRS_BOOT_ID_H_
#define CLONESAFE_GUEST_AGENT_REPAIRS_BOOT_ID_H_

#include <string>

#include "guest_agent/repairs/kernel.h"
#include "guest_agent/repairs/repair.h"

namespace clonesafe::agent {

// /proc/sys/kernel/random/boot_id: the kernel draws it once and never again, so a file is mounted
// over it. The mount is made at the first clone; after that the file is rewritten, which every
// mount of it shows. Mount namespaces made before the first clone don't see it.
class BootIdRepair : public Repair {
 public:
  // `shown` is what programs read, `file` what is mounted there. Empty: leave alone.
  BootIdRepair(Kernel& kernel, std::string shown, std::string file)
      : kernel_(kernel), shown_(std::move(shown)), file_(std::move(file)) {}

  std::string_view name() const override { return "boot_id"; }
  Stage stage() const override { return Stage::kIdentity; }
  Finding run(const RepairEvent& event) override;

 private:
  Kernel& kernel_;
  std::string shown_;
  std::string file_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_REPAIRS_BOOT_ID_H_
