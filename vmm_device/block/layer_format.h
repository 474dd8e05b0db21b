// A layer file, byte by byte (docs/formats/layer.md). Private to this folder and its tests.
#ifndef CLONESAFE_VMM_DEVICE_BLOCK_LAYER_FORMAT_H_
#define CLONESAFE_VMM_DEVICE_BLOCK_LAYER_FORMAT_H_

#include <cstddef>
#include <cstdint>

namespace clonesafe::block::format {

inline constexpr std::uint8_t kMagic[8] = {'C', 'L', 'S', 'L', 'A', 'Y', '0', '1'};
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kHeaderLength = 4096;
// The page of guests' file systems: what they write first is whole clusters, so that nothing has to
// be copied up from the base.
inline constexpr std::uint32_t kClusterSize = 4096;
// The map of a disk of this size is 128 MiB, which is kept in memory.
inline constexpr std::uint64_t kMaxCapacity = std::uint64_t{4} << 40;

// Numbers are little-endian.
struct LayerHeader {
  std::uint8_t magic[8];
  std::uint32_t version;
  std::uint32_t header_length;
  std::uint32_t cluster_size;
  std::uint32_t reserved0;
  std::uint64_t capacity;
  std::int64_t base_modified_ns;
  std::uint8_t base_head[32];
  std::uint64_t data_offset;
  std::uint8_t reserved1[400];
  std::uint8_t digest[32];  // SHA-256 of what is before it
  // Outside the digest, and in a sector of its own: written when all else is there already, and a
  // disk writes a sector whole or not at all.
  std::uint64_t commit_mark;
  std::uint8_t reserved2[3576];
};
static_assert(offsetof(LayerHeader, capacity) == 0x18);
static_assert(offsetof(LayerHeader, base_modified_ns) == 0x20);
static_assert(offsetof(LayerHeader, base_head) == 0x28);
static_assert(offsetof(LayerHeader, data_offset) == 0x48);
static_assert(offsetof(LayerHeader, digest) == 0x1e0);
static_assert(offsetof(LayerHeader, commit_mark) == 0x200);
static_assert(sizeof(LayerHeader) == kHeaderLength);

// The layer is being written into its image, which is neither of the two until that is done.
inline constexpr std::uint64_t kCommitMark = 0x313054494d4d4f43;  // "COMMIT01"

}  // namespace clonesafe::block::format

#endif  // CLONESAFE_VMM_DEVICE_BLOCK_LAYER_FORMAT_H_
