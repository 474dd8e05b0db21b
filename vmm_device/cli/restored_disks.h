#ifndef CLONESAFE_VMM_DEVICE_CLI_RESTORED_DISKS_H_
#define CLONESAFE_VMM_DEVICE_CLI_RESTORED_DISKS_H_

#include <filesystem>
#include <map>
#include <string_view>
#include <vector>

#include "vmm_device/block/disk.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::cli {

// What the command line says of the disks of clones.
struct CloneDisks {
  // Images that are elsewhere than at the snapshot, by the number of their disk.
  std::map<std::size_t, std::filesystem::path> images;
  bool keep_layers = false;
  bool move = false;  // the source is gone, so what it wrote in place is written on
};

struct ImageArgument {
  std::size_t disk = 0;
  std::filesystem::path image;
};
// "0=/srv/disk.img"
Result<ImageArgument> parse_image(std::string_view text);

// Once, before any clone is forked: opens and locks the images, and checks that they are as they
// were at the snapshot, and every byte of its layers. Clones inherit the files and the locks.
Result<std::vector<block::Disk>> open_restored_disks(const snapshot::Snapshot& snapshot,
                                                     const CloneDisks& options);

// In a clone's process, whose current directory is its folder: gives each disk that can be written
// a layer of its own. One that is not kept has no name, and is gone with the process; one that is
// kept lies over the image alone.
Status add_own_layers(std::vector<block::Disk>& disks, const CloneDisks& options);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_RESTORED_DISKS_H_
