#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_IMAGE_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_IMAGE_H_

#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

// A machine caught in memory, for clones of it that need no file: what state.csn and memory.img
// would hold, and attached files, as sealed memfds that can be handed to another process. Memory
// has no chunk digests: it never was where it could be damaged, and hashing it would lengthen the
// pause.
struct Image {
  UniqueFd state;
  UniqueFd memory;                   // regions end to end, as in memory.img
  std::vector<UniqueFd> files = {};  // attached ones, in order
  Digest digest = {};
  std::uint64_t memory_size = 0;
  std::uint64_t data_size = 0;  // bytes that were not zero, so were copied
};

// `changed`, `key` and `folder` of the request are not for this.
Result<Image> capture(const WriteRequest& request);

// The machine of an image that came from another process: checks the seals and the state, so that
// neither can change under a clone, and sizes.
Result<Snapshot> read_image(int state, int memory, std::vector<UniqueFd> files = {});

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_IMAGE_H_
