// block: the disks of a machine as the host keeps them: raw images, and private copy-on-write
// layers over them; no virtio and no KVM in it.
#ifndef CLONESAFE_VMM_DEVICE_BLOCK_DISK_H_
#define CLONESAFE_VMM_DEVICE_BLOCK_DISK_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "vmm_device/block/disk_image.h"
#include "vmm_device/block/layer.h"

namespace clonesafe::block {

// One disk: an image, and above it layers, of which only the top one is written. Without a layer
// the image itself is. One thread at a time.
//
// Ranges are the caller's to check: inside the disk, and of whole sectors.
class Disk {
 public:
  Disk(DiskImage image, bool read_only) : image_(std::move(image)), read_only_(read_only) {}
  // A layer that lies over another image is refused.
  Status add(Layer layer, Match match = Match::kUnwritten);

  void drop_layers() { layers_.clear(); }

  std::uint64_t capacity() const { return image_.size(); }
  bool read_only() const { return read_only_; }
  const DiskImage& image() const { return image_; }
  const std::vector<Layer>& layers() const { return layers_; }
  // Writes go to the image itself.
  bool in_place() const { return !read_only_ && layers_.empty(); }

  Status read(std::span<const iovec> buffers, std::uint64_t offset) const;
  Status write(std::span<const iovec> buffers, std::uint64_t offset);
  // A hint: what can't be done cheaply is left as it is.
  Status discard(std::uint64_t offset, std::uint64_t size);
  Status write_zeroes(std::uint64_t offset, std::uint64_t size, bool may_unmap);
  // All that was written before is on the host's disk.
  Status flush();

  // What the layers lie over, or, without layers, the image as it is now.
  Result<ImageIdentity> base() const;
  // Writes one layer over `base` that holds what all layers do, to an empty file.
  Result<Layer> flatten(UniqueFd to, const std::string& name, const ImageIdentity& base) const;

 private:
  const Layer* owner_of(std::uint64_t cluster) const;
  Status copy_up(std::uint64_t cluster);

  DiskImage image_;
  std::vector<Layer> layers_;  // bottom first
  bool read_only_;
  bool written_ = true;  // since the last flush; what came before this process may not be synced
};

}  // namespace clonesafe::block

#endif  // CLONESAFE_VMM_DEVICE_BLOCK_DISK_H_
