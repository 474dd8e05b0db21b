#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_NET_ABI_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_NET_ABI_H_

#include <cstddef>
#include <cstdint>

// Numbers of virtio 1.2, 5.1 (network device); the section stands beside each group.
namespace clonesafe::virtio::net {

// 5.1.3.
inline constexpr std::uint64_t kFeatureChecksum = std::uint64_t{1} << 0;
inline constexpr std::uint64_t kFeatureGuestChecksum = std::uint64_t{1} << 1;
inline constexpr std::uint64_t kFeatureMtu = std::uint64_t{1} << 3;
inline constexpr std::uint64_t kFeatureMac = std::uint64_t{1} << 5;
inline constexpr std::uint64_t kFeatureGuestTso4 = std::uint64_t{1} << 7;
inline constexpr std::uint64_t kFeatureGuestTso6 = std::uint64_t{1} << 8;
inline constexpr std::uint64_t kFeatureHostTso4 = std::uint64_t{1} << 11;
inline constexpr std::uint64_t kFeatureHostTso6 = std::uint64_t{1} << 12;
inline constexpr std::uint64_t kFeatureMergeableBuffers = std::uint64_t{1} << 15;
inline constexpr std::uint64_t kFeatureStatus = std::uint64_t{1} << 16;
inline constexpr std::uint64_t kFeatureControlQueue = std::uint64_t{1} << 17;
inline constexpr std::uint64_t kFeatureGuestAnnounce = std::uint64_t{1} << 21;

// 5.1.2, with one pair of queues.
inline constexpr std::size_t kReceiveQueue = 0;
inline constexpr std::size_t kTransmitQueue = 1;
inline constexpr std::size_t kControlQueue = 2;

// 5.1.4.
inline constexpr std::uint16_t kStatusLinkUp = 1;
inline constexpr std::uint16_t kStatusAnnounce = 2;
struct Config {
  std::uint8_t mac[6];
  std::uint16_t status;
  std::uint16_t max_virtqueue_pairs;  // not there: no VIRTIO_NET_F_MQ
  std::uint16_t mtu;
};
static_assert(sizeof(Config) == 12);
static_assert(offsetof(Config, mtu) == 10);

// 5.1.6.
inline constexpr std::uint8_t kHeaderNeedsChecksum = 1;
inline constexpr std::uint8_t kGsoNone = 0;
inline constexpr std::uint8_t kGsoTcp4 = 1;
inline constexpr std::uint8_t kGsoTcp6 = 4;
struct Header {
  std::uint8_t flags;
  std::uint8_t gso_type;
  std::uint16_t hdr_len;
  std::uint16_t gso_size;
  std::uint16_t csum_start;
  std::uint16_t csum_offset;
  std::uint16_t num_buffers;
};
static_assert(sizeof(Header) == 12);
static_assert(offsetof(Header, num_buffers) == 10);

// 5.1.6.5.
inline constexpr std::uint8_t kControlAnnounce = 3;
inline constexpr std::uint8_t kControlAnnounceAck = 0;
inline constexpr std::uint8_t kControlOk = 0;
inline constexpr std::uint8_t kControlError = 1;

}  // namespace clonesafe::virtio::net

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_NET_ABI_H_
