#include "vmm_device/cli/nets.h"

namespace clonesafe::cli {
namespace {

std::string name_of(std::size_t index) {
  return "net " + std::to_string(index);
}

}  // namespace

Result<std::vector<network::Tap>> open_nets(std::span<const NetArgument> arguments,
                                            std::vector<NetConfig>& configs) {
  std::vector<network::Tap> taps;
  for (std::size_t index = 0; index < arguments.size(); ++index) {
    const NetArgument& argument = arguments[index];
    Result<network::MacAddress> mac = argument.address;
    if (argument.mac != NetArgument::Mac::kGiven) mac = network::random_mac();
    if (!mac) return fail(mac.error(), name_of(index));
    auto tap = network::open_tap(argument.tap, argument.network_namespace);
    if (!tap) return fail(tap.error(), name_of(index));
    taps.push_back(std::move(*tap));
    configs.push_back({.tap = argument.tap, .mac = *mac});
  }
  return taps;
}

Result<CloneNets> open_clone_nets(std::span<const NetConfig> nets,
                                  std::span<const NetArgument> arguments, std::uint32_t clone,
                                  bool move) {
  if (!arguments.empty() && arguments.size() != nets.size())
    return fail("--net is given " + std::to_string(arguments.size()) +
                " times, the snapshot's machine has " + std::to_string(nets.size()) +
                " network devices");
  CloneNets opened;
  for (std::size_t index = 0; index < nets.size(); ++index) {
    NetArgument argument{.tap = nets[index].tap};
    if (!arguments.empty()) argument = of_clone(arguments[index], clone);
    auto tap = network::open_tap(argument.tap, argument.network_namespace);
    if (!tap) return fail(tap.error(), name_of(index));
    opened.taps.push_back(std::move(*tap));
    std::optional<network::MacAddress> mac;
    if (argument.mac == NetArgument::Mac::kGiven) {
      mac = argument.address;
    } else if (argument.mac == NetArgument::Mac::kNew && !move) {
      auto drawn = network::random_mac();
      if (!drawn) return fail(drawn.error(), name_of(index));
      mac = *drawn;
    }
    opened.macs.push_back(mac);
  }
  return opened;
}

Status check_clones_nets(std::span<const NetArgument> arguments, std::uint32_t clones) {
  for (std::size_t index = 0; index < arguments.size(); ++index) {
    const NetArgument& argument = arguments[index];
    if (clones > 1 && argument.mac == NetArgument::Mac::kGiven)
      return fail(name_of(index) + ": one address for " + std::to_string(clones) + " clones");
    if (clones > 1 && of_clone(argument, 1).tap == of_clone(argument, 2).tap &&
        of_clone(argument, 1).network_namespace == of_clone(argument, 2).network_namespace)
      return fail(name_of(index) + ": one tap for " + std::to_string(clones) +
                  " clones; %d in its name, or its namespace's, is the clone's number");
  }
  return {};
}

}  // namespace clonesafe::cli
