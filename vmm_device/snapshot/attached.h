// Private to this folder: files of a snapshot beside state and memory, such as the layer of a disk.
// Most of such a file may be holes: what is zeros counts as not there.
#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_ATTACHED_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_ATTACHED_H_

#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

Section encode_attached(const AttachedFile& file);
// All of a snapshot; each name is there once.
Result<std::vector<AttachedFile>> parse_attached(const Snapshot& snapshot, const std::string& name);

// Before a file is made by it.
Status check_attached_name(const std::string& name);
// Has the file, which is empty, written, and reads its digest.
Result<AttachedFile> write_attached(int fd, const FileToWrite& file);
// Copies `size` bytes, holes as holes, to an empty file.
Status copy_sparse(int from, int to, std::uint64_t size, const std::string& name);

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_ATTACHED_H_
