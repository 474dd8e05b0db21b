#ifndef CLONESAFE_VMM_DEVICE_MACHINE_HOLD_NETWORK_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_HOLD_NETWORK_H_

#include <chrono>
#include <cstdint>
#include <optional>

namespace clonesafe {

// The network held from the first instruction until the agent's report says that the guest is safe.
struct HoldNetwork {
  bool wanted = false;
  std::optional<std::chrono::milliseconds> limit =
      {};  // released then all the same; none: for ever
};

// What the hold did to frames: those that were parked, and sent in the end, and those that are
// lost.
struct HeldFrames {
  std::uint64_t parked = 0;
  std::uint64_t lost = 0;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_HOLD_NETWORK_H_
