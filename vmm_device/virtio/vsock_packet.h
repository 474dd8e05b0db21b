#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_PACKET_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_PACKET_H_

#include <cstddef>
#include <cstdint>

// Packets of the socket device (virtio 1.2, 5.10.6).
namespace clonesafe::virtio {

inline constexpr std::uint64_t kVsockHostCid = 2;
inline constexpr std::uint16_t kVsockTypeStream = 1;

enum class VsockOperation : std::uint16_t {
  kInvalid = 0,
  kRequest = 1,
  kResponse = 2,
  kReset = 3,
  kShutdown = 4,
  kData = 5,  // RW
  kCreditUpdate = 6,
  kCreditRequest = 7,
};

// Flags of kShutdown, from the sender's point of view.
inline constexpr std::uint32_t kVsockShutdownReceive = 1;
inline constexpr std::uint32_t kVsockShutdownSend = 2;
inline constexpr std::uint32_t kVsockShutdownBoth = 3;

inline constexpr std::uint32_t kVsockEventTransportReset = 0;

struct [[gnu::packed]] VsockHeader {
  std::uint64_t source_cid = 0;
  std::uint64_t destination_cid = 0;
  std::uint32_t source_port = 0;
  std::uint32_t destination_port = 0;
  std::uint32_t length = 0;
  std::uint16_t type = 0;
  VsockOperation operation = VsockOperation::kInvalid;
  std::uint32_t flags = 0;
  std::uint32_t buffer_size = 0;      // buf_alloc
  std::uint32_t forwarded_count = 0;  // fwd_cnt
};
static_assert(sizeof(VsockHeader) == 44);
static_assert(offsetof(VsockHeader, length) == 24 && offsetof(VsockHeader, flags) == 32);

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_PACKET_H_
