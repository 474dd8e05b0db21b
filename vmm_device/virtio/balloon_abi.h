#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_BALLOON_ABI_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_BALLOON_ABI_H_

#include <cstddef>
#include <cstdint>

// Numbers of virtio 1.2, 5.5 (traditional memory balloon device); the section stands beside each
// group.
namespace clonesafe::virtio::balloon {

// 5.5.3. Not offered: MUST_TELL_HOST (0), as nothing is done when pages come back;
// FREE_PAGE_HINT (3), see BalloonDevice.
inline constexpr std::uint64_t kFeatureStatistics = std::uint64_t{1} << 1;
inline constexpr std::uint64_t kFeatureDeflateOnOom = std::uint64_t{1} << 2;
inline constexpr std::uint64_t kFeaturePagePoison = std::uint64_t{1} << 4;
inline constexpr std::uint64_t kFeaturePageReporting = std::uint64_t{1} << 5;

// 5.5.2.
inline constexpr std::size_t kInflateQueue = 0;
inline constexpr std::size_t kDeflateQueue = 1;
inline constexpr std::size_t kStatisticsQueue = 2;

// 5.5.4.
struct Config {
  std::uint32_t num_pages;
  std::uint32_t actual;
  std::uint32_t free_page_hint_cmd_id;
  std::uint32_t poison_val;
};
static_assert(sizeof(Config) == 16);
static_assert(offsetof(Config, poison_val) == 12);

// 5.5.6: pages of the balloon are of 4096 bytes, whatever the guest's are.
inline constexpr std::uint32_t kPageShift = 12;
inline constexpr std::uint64_t kPageSize = 1u << kPageShift;

// 5.5.6.3.
struct [[gnu::packed]] Statistic {
  std::uint16_t tag;
  std::uint64_t value;
};
static_assert(sizeof(Statistic) == 10);
inline constexpr std::uint16_t kStatisticFree = 4;
inline constexpr std::uint16_t kStatisticTotal = 5;
inline constexpr std::uint16_t kStatisticAvailable = 6;
inline constexpr std::uint16_t kStatisticCaches = 7;

}  // namespace clonesafe::virtio::balloon

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_BALLOON_ABI_H_
