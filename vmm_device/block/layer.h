#ifndef CLONESAFE_VMM_DEVICE_BLOCK_LAYER_H_
#define CLONESAFE_VMM_DEVICE_BLOCK_LAYER_H_

#include <cstdint>
#include <functional>
#include <set>
#include <span>

#include "vmm_device/block/disk_image.h"
#include "vmm_device/block/layer_header.h"
#include "vmm_device/core/page_set.h"

namespace clonesafe::block {

// What was written over a base image that stays as it is: a sparse file with a place for each
// cluster of the disk, and a map of the clusters that are in it (docs/formats/layer.md).
//
// After a crash at any moment each cluster is as it was at some time since the last flush(), or at
// it: a cluster's data is on the disk before the map says that it is there, and a cluster never
// leaves the map. One thread at a time.
class Layer {
 public:
  static constexpr std::uint64_t kClusterSize = format::kClusterSize;

  // Makes an empty layer in an empty file that is open for reading and writing.
  static Result<Layer> create(UniqueFd file, const std::string& name, const ImageIdentity& base);
  // Opens one. Whether it lies over the image at hand is the caller's to compare. A layer that is
  // only read takes a shared lock.
  static Result<Layer> open(const std::string& path, Lock lock);
  static Result<Layer> adopt(UniqueFd file, const std::string& name, Lock lock);

  const ImageIdentity& base() const { return base_; }
  std::uint64_t capacity() const { return base_.size; }
  const BackingFile& file() const { return file_; }

  bool has(std::uint64_t cluster) const { return map_.contains(cluster); }
  std::uint64_t clusters() const { return map_.pages(); }
  std::uint64_t count() const { return map_.count(); }
  // A commit of it began, and may not have been finished.
  bool being_committed() const { return being_committed_; }
  // Says so on the disk.
  Status mark_committing();

  // Bytes of clusters that it has.
  Status read(std::span<const iovec> buffers, std::uint64_t offset) const;
  // Bytes at `offset` of the disk: whole clusters, or inside ones that it has.
  Status write(std::span<const iovec> buffers, std::uint64_t offset);
  // Whole clusters become zeros.
  Status zero(std::uint64_t first, std::uint64_t count);
  // All that was written is on the disk, and so is the map.
  Status flush();
  // Called at each step of a flush; its error is the step's.
  void stop_flush_for_testing(std::function<Status(const char* step)> stop) {
    stop_flush_ = std::move(stop);
  }

 private:
  Layer(BackingFile file, const ParsedLayer& parsed, PageSet map);
  static Result<Layer> open_file(BackingFile file);
  void mark(std::uint64_t first, std::uint64_t count);

  BackingFile file_;
  ImageIdentity base_;
  bool being_committed_;
  LayerShape shape_;
  PageSet map_;
  Status reached(const char* step) const { return stop_flush_ ? stop_flush_(step) : Status(); }

  std::function<Status(const char*)> stop_flush_;
  std::set<std::uint64_t> changed_map_pages_;  // pages of the map's bytes, of 4 KiB
};

}  // namespace clonesafe::block

#endif  // CLONESAFE_VMM_DEVICE_BLOCK_LAYER_H_
