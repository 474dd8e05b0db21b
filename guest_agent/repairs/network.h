#ifndef CLONESAFE_GUEST_AGENT_REPAIRS_NETWORK_H_
#define CLONESAFE_GUEST_AGENT_REPAIRS_NETWORK_H_

#include "guest_agent/repairs/kernel.h"
#include "guest_agent/repairs/repair.h"

namespace clonesafe::agent {

// The addresses of a clone's interfaces, as the operator's document says (`network` in
// docs/formats/metadata.md). Without such a word interfaces stay as they were in the source: what
// is right depends on the network.
class NetworkRepair : public Repair {
 public:
  // `kernel` outlives this object.
  explicit NetworkRepair(Kernel& kernel) : kernel_(kernel) {}

  std::string_view name() const override { return "network"; }
  Stage stage() const override { return Stage::kDocument; }
  Finding run(const RepairEvent& event) override;

 private:
  Kernel& kernel_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_REPAIRS_NETWORK_H_
