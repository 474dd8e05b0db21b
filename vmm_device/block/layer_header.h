#ifndef CLONESAFE_VMM_DEVICE_BLOCK_LAYER_HEADER_H_
#define CLONESAFE_VMM_DEVICE_BLOCK_LAYER_HEADER_H_

#include <cstdint>
#include <span>

#include "vmm_device/block/disk_image.h"
#include "vmm_device/block/layer_format.h"

namespace clonesafe::block {

// Where the parts of a layer's file are, which follows from the disk's size.
struct LayerShape {
  std::uint64_t clusters = 0;
  std::uint64_t map_size = 0;  // bytes that hold a bit for each cluster
  std::uint64_t data_offset = 0;
  std::uint64_t file_size = 0;
};
LayerShape layer_shape(std::uint64_t capacity);

// A disk that a layer can lie over.
Status check_layer_capacity(std::uint64_t capacity, const std::string& name);

Result<format::LayerHeader> make_layer_header(const ImageIdentity& base);

struct ParsedLayer {
  ImageIdentity base;
  bool being_committed = false;
};
// The bytes are untrusted; `name` stands first in each error.
Result<ParsedLayer> parse_layer_header(std::span<const std::byte> bytes, const std::string& name);

}  // namespace clonesafe::block

#endif  // CLONESAFE_VMM_DEVICE_BLOCK_LAYER_HEADER_H_
