#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_BLOCK_ABI_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_BLOCK_ABI_H_

#include <cstddef>
#include <cstdint>

// Numbers of the block device (virtio 1.2, 5.2).
namespace clonesafe::virtio::blk {

// 5.2.3 Feature bits.
inline constexpr std::uint64_t kFeatureSegMax = std::uint64_t{1} << 2;
inline constexpr std::uint64_t kFeatureReadOnly = std::uint64_t{1} << 5;
inline constexpr std::uint64_t kFeatureBlockSize = std::uint64_t{1} << 6;
inline constexpr std::uint64_t kFeatureFlush = std::uint64_t{1} << 9;
inline constexpr std::uint64_t kFeatureTopology = std::uint64_t{1} << 10;
inline constexpr std::uint64_t kFeatureDiscard = std::uint64_t{1} << 13;
inline constexpr std::uint64_t kFeatureWriteZeroes = std::uint64_t{1} << 14;

// 5.2.4 Device configuration layout.
struct __attribute__((packed)) Config {
  std::uint64_t capacity;  // sectors of 512 bytes
  std::uint32_t size_max;
  std::uint32_t seg_max;
  std::uint16_t cylinders;
  std::uint8_t heads;
  std::uint8_t sectors;
  std::uint32_t blk_size;
  std::uint8_t physical_block_exp;
  std::uint8_t alignment_offset;
  std::uint16_t min_io_size;
  std::uint32_t opt_io_size;
  std::uint8_t writeback;
  std::uint8_t unused0;
  std::uint16_t num_queues;
  std::uint32_t max_discard_sectors;
  std::uint32_t max_discard_seg;
  std::uint32_t discard_sector_alignment;
  std::uint32_t max_write_zeroes_sectors;
  std::uint32_t max_write_zeroes_seg;
  std::uint8_t write_zeroes_may_unmap;
  std::uint8_t unused1[3];
};
static_assert(offsetof(Config, blk_size) == 20);
static_assert(offsetof(Config, writeback) == 32);
static_assert(offsetof(Config, max_discard_sectors) == 36);
static_assert(sizeof(Config) == 60);

// 5.2.6 Device operation.
enum class RequestType : std::uint32_t {
  kIn = 0,
  kOut = 1,
  kFlush = 4,
  kGetId = 8,
  kDiscard = 11,
  kWriteZeroes = 13,
};
struct RequestHeader {
  std::uint32_t type;
  std::uint32_t reserved;
  std::uint64_t sector;
};
static_assert(sizeof(RequestHeader) == 16);

struct Segment {  // of a discard or a write of zeroes
  std::uint64_t sector;
  std::uint32_t sectors;
  std::uint32_t flags;
};
static_assert(sizeof(Segment) == 16);
inline constexpr std::uint32_t kSegmentUnmap = 1;

inline constexpr std::size_t kIdSize = 20;

enum class RequestStatus : std::uint8_t { kOk = 0, kIoError = 1, kUnsupported = 2 };

}  // namespace clonesafe::virtio::blk

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_BLOCK_ABI_H_
