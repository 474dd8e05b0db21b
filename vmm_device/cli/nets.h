#ifndef CLONESAFE_VMM_DEVICE_CLI_NETS_H_
#define CLONESAFE_VMM_DEVICE_CLI_NETS_H_

#include <optional>
#include <span>
#include <vector>

#include "vmm_device/cli/options.h"
#include "vmm_device/machine/machine_config.h"
#include "vmm_device/net/tap.h"

namespace clonesafe::cli {

// Opens the taps of `clonevm run`, while the process may. `configs` gets what the machine's
// configuration says of its network devices.
Result<std::vector<network::Tap>> open_nets(std::span<const NetArgument> arguments,
                                            std::vector<NetConfig>& configs);

struct CloneNets {
  std::vector<network::Tap> taps;
  std::vector<std::optional<network::MacAddress>> macs;  // nothing: the snapshot's
};
// Those of one clone, in the clone's process. Without arguments each device has the tap that the
// snapshot names. A clone's address is new unless an argument says otherwise; the source's that
// moved (`move`) stays.
Result<CloneNets> open_clone_nets(std::span<const NetConfig> nets,
                                  std::span<const NetArgument> arguments, std::uint32_t clone,
                                  bool move);

// What can be said of the arguments before there is a clone: one address is not given to several.
Status check_clones_nets(std::span<const NetArgument> arguments, std::uint32_t clones);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_NETS_H_
