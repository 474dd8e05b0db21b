#ifndef CLONESAFE_GUEST_AGENT_REPAIRS_CLOCK_H_
#define CLONESAFE_GUEST_AGENT_REPAIRS_CLOCK_H_

#include "guest_agent/repairs/kernel.h"
#include "guest_agent/repairs/repair.h"

namespace clonesafe::agent {

// The wall clock. A restored machine's monotonic clock goes on where the snapshot was taken, and
// its wall clock with it, so that is late by as long as the snapshot lay. It is set to the host's
// time: what the restore page says, and what has passed since, by the TSC. The monotonic clock is
// left alone, so timers and timeouts don't jump.
class ClockRepair : public Repair {
 public:
  // `kernel` outlives this object.
  explicit ClockRepair(Kernel& kernel) : kernel_(kernel) {}

  std::string_view name() const override { return "clock"; }
  Stage stage() const override { return Stage::kClock; }
  Finding run(const RepairEvent& event) override;

 private:
  Kernel& kernel_;
};

// "+12.345678 s"; for people.
std::string seconds_text(std::int64_t ns);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_REPAIRS_CLOCK_H_
