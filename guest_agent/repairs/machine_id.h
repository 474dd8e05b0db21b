#ifndef CLONESAFE_GUEST_AGENT_REPAIRS_MACHINE_ID_H_
#define CLONESAFE_GUEST_AGENT_REPAIRS_MACHINE_ID_H_

#include <string>

#include "guest_agent/repairs/kernel.h"
#include "guest_agent/repairs/repair.h"

namespace clonesafe::agent {

// machine-id(5), and D-Bus's copy of it where that is a file of its own. Programs that have read
// the old id keep it until they read again; that is theirs, or a hook's.
class MachineIdRepair : public Repair {
 public:
  // An empty path leaves that file alone. `kernel` outlives this object.
  MachineIdRepair(Kernel& kernel, std::string path, std::string dbus_path)
      : kernel_(kernel), path_(std::move(path)), dbus_path_(std::move(dbus_path)) {}

  std::string_view name() const override { return "machine_id"; }
  Stage stage() const override { return Stage::kIdentity; }
  Finding run(const RepairEvent& event) override;

 private:
  Kernel& kernel_;
  std::string path_;
  std::string dbus_path_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_REPAIRS_MACHINE_ID_H_
