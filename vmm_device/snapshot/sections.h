#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_SECTIONS_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_SECTIONS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace clonesafe::snapshot {

// What a section of the state file holds. The numbers are part of the format: never reuse one.
// The bytes inside a section are its owner's (StateEncoder, StateDecoder); memory map, chunk
// digests, layer and attached files are this folder's own.
enum class Tag : std::uint32_t {
  machine_config = 1,  // vCPU count, devices present, kernel command line
  memory_map = 2,
  chunk_digests = 3,
  cpu_identity = 4,  // model string and CPUID, for the compatibility check
  vcpu = 5,          // one a vCPU, in order
  irqchip = 6,
  clock = 7,
  serial = 8,
  generation = 9,      // generation devices and the registered page
  virtio_device = 10,  // one a slot, in order
  agent_channel = 11,
  layer = 12,            // which pages an incremental snapshot has; this folder's own
  secret_pages = 13,     // of which memory.img has no data
  disk = 14,             // one a disk, in order: its image, and what told it from others
  attached_file = 15,    // one more file of the directory; this folder's own
  network_devices = 16,  // their taps and addresses
  balloon = 17,          // what the memory balloon offers
};

struct TagInfo {
  Tag tag;
  std::string_view name;
  std::uint32_t max_count;
};

// What is known of a tag, nothing if this version doesn't know it.
std::optional<TagInfo> tag_info(std::uint32_t tag);

// A section as its owner made it. The order among sections of the same tag is kept and is their
// index. A reader that doesn't know a critical section refuses the snapshot; one that is not
// critical it skips.
struct Section {
  Tag tag;
  std::uint16_t version = 1;
  bool critical = true;
  std::vector<std::byte> bytes;
};

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_SECTIONS_H_
