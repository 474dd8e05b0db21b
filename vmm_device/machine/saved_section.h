#ifndef CLONESAFE_VMM_DEVICE_MACHINE_SAVED_SECTION_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_SAVED_SECTION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "vmm_device/machine/machine_config.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe {

// A section of a version from 1 to `newest`.
Result<snapshot::SectionView> known_section(const snapshot::Snapshot& snapshot, snapshot::Tag tag,
                                            std::size_t index, std::uint16_t newest);
Result<std::span<const std::byte>> section_bytes(const snapshot::Snapshot& snapshot,
                                                 snapshot::Tag tag, std::size_t index = 0,
                                                 std::uint16_t newest = 1);

// The network devices of the machine that a snapshot is of.
Result<std::vector<NetConfig>> saved_nets(const snapshot::Snapshot& snapshot);
// And its balloon, if it has one.
Result<std::optional<BalloonConfig>> saved_balloon(const snapshot::Snapshot& snapshot);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_SAVED_SECTION_H_
