#ifndef CLONESAFE_VMM_DEVICE_MACHINE_HOLD_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_HOLD_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>

namespace clonesafe {

// What doesn't leave a machine from its first instruction until the agent's report says that the
// guest is safe.
struct Hold {
  bool network = false;
  std::set<std::uint32_t> vsock_ports =
      {};                            // the host's and the guest's: who is asked, not who asks
  std::set<std::size_t> disks = {};  // by number: their flushes
  std::optional<std::chrono::milliseconds> limit =
      {};  // released then all the same; none: for ever

  bool anything() const { return network || !vsock_ports.empty() || !disks.empty(); }
};

// What the hold did: to frames, those that were parked, and sent in the end, and those that are
// lost; and what was kept waiting of streams and flushes.
struct Held {
  std::uint64_t frames_parked = 0;
  std::uint64_t frames_lost = 0;
  std::uint64_t frames_stale = 0;  // of TCP connections of before, never sent
  std::uint64_t streams = 0;
  std::uint64_t flushes = 0;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_HOLD_H_
