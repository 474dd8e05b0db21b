#ifndef CLONESAFE_VMM_DEVICE_MACHINE_DISK_RECORD_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_DISK_RECORD_H_

#include <string>
#include <vector>

#include "vmm_device/block/disk.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe {

// What a snapshot says of a disk: where its image was, and how it is known again. What its layers
// held is a file of the snapshot.
struct DiskRecord {
  std::string image;  // absolute path
  bool read_only = false;
  bool has_layer = false;
  std::string serial;
  block::ImageIdentity identity;  // of the image
};

Result<DiskRecord> record_of(const block::Disk& disk, const std::string& serial);
std::vector<std::byte> encode(const DiskRecord& record);

// Of all disks, in their order. The bytes are untrusted, and paths are printed: they have no
// control characters. A disk with a layer has its file.
Result<std::vector<DiskRecord>> decode_disk_records(const snapshot::Snapshot& snapshot);

// The attached file with the layer of a disk: "disk0.layer".
std::string disk_layer_file(std::size_t disk);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_DISK_RECORD_H_
