#ifndef CLONESAFE_GUEST_AGENT_REPAIRS_KERNEL_RNG_H_
#define CLONESAFE_GUEST_AGENT_REPAIRS_KERNEL_RNG_H_

#include "guest_agent/repairs/kernel.h"
#include "guest_agent/repairs/repair.h"
#include "guest_agent/sources/seed_page.h"

namespace clonesafe::agent {

// The kernel's generator: what getrandom(2), /dev/urandom and the vDSO give, on every kernel, also
// on those that never reseed by themselves.
//
// Order: the host's secret seed with credit; everything that is unique but not secret (VMGENID,
// diversifier, ids, times) without credit; then RNDRESEEDCRNG, because neither of the two rekeys
// the generator (it would go on under the cloned key for up to a minute). The seed is zeroed in its
// page as soon as the kernel has it.
class KernelRngRepair : public Repair {
 public:
  // `seed` may be null: this VMM gives none. Both outlive this object.
  KernelRngRepair(Kernel& kernel, SeedPage* seed) : kernel_(kernel), seed_(seed) {}

  std::string_view name() const override { return "kernel_rng"; }
  Stage stage() const override { return Stage::kKernelRng; }
  Finding run(const RepairEvent& event) override;

 private:
  enum class SeedUse { kNone, kGiven, kRefused };
  // `notes` gets what is to be said about it.
  SeedUse give_seed(const RepairEvent& event, std::string& notes);

  Kernel& kernel_;
  SeedPage* seed_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_REPAIRS_KERNEL_RNG_H_
