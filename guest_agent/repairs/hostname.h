#ifndef CLONESAFE_GUEST_AGENT_REPAIRS_HOSTNAME_H_
#define CLONESAFE_GUEST_AGENT_REPAIRS_HOSTNAME_H_

#include <optional>
#include <string>
#include <string_view>

#include "guest_agent/repairs/kernel.h"
#include "guest_agent/repairs/repair.h"

namespace clonesafe::agent {

// The kernel's host name, by a pattern of {base} (the name without what this repair gave it before)
// and {generation} (8 hexadecimal digits of the clone's generation).
class HostnameRepair : public Repair {
 public:
  // `state_file` remembers the base over clones and restarts. `kernel` outlives this object.
  HostnameRepair(Kernel& kernel, std::string pattern, std::string state_file)
      : kernel_(kernel), pattern_(std::move(pattern)), state_file_(std::move(state_file)) {}

  std::string_view name() const override { return "hostname"; }
  Stage stage() const override { return Stage::kIdentity; }
  Finding run(const RepairEvent& event) override;

 private:
  std::string base(const std::string& current);

  Kernel& kernel_;
  std::string pattern_;
  std::string state_file_;
};

// At most 64 bytes (HOST_NAME_MAX), at the cost of the base. Fails for a pattern that doesn't leave
// room for it.
Result<std::string> make_hostname(std::string_view pattern, std::string_view base,
                                  std::uint64_t generation);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_REPAIRS_HOSTNAME_H_
