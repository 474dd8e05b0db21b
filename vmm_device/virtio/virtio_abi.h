#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_VIRTIO_ABI_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_VIRTIO_ABI_H_

#include <cstddef>
#include <cstdint>

// Numbers of the virtio 1.2 specification; the section stands beside each group.
namespace clonesafe::virtio {

// 2.1 Device Status Field.
inline constexpr std::uint32_t kStatusAcknowledge = 1;
inline constexpr std::uint32_t kStatusDriver = 2;
inline constexpr std::uint32_t kStatusDriverOk = 4;
inline constexpr std::uint32_t kStatusFeaturesOk = 8;
inline constexpr std::uint32_t kStatusNeedsReset = 64;
inline constexpr std::uint32_t kStatusFailed = 128;

// 6 Reserved Feature Bits.
inline constexpr std::uint64_t kFeatureIndirectDescriptors = std::uint64_t{1} << 28;
inline constexpr std::uint64_t kFeatureEventIndex = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kFeatureVersion1 = std::uint64_t{1} << 32;

// 2.7 Split Virtqueues.
inline constexpr std::uint16_t kDescriptorNext = 1;
inline constexpr std::uint16_t kDescriptorWrite = 2;
inline constexpr std::uint16_t kDescriptorIndirect = 4;
inline constexpr std::uint16_t kAvailNoInterrupt = 1;
inline constexpr std::uint16_t kUsedNoNotify = 1;
inline constexpr std::uint16_t kQueueSizeMax = 1024;

struct Descriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags;
  std::uint16_t next;
};
static_assert(sizeof(Descriptor) == 16);

struct UsedElement {
  std::uint32_t id;
  std::uint32_t length;
};
static_assert(sizeof(UsedElement) == 8);

// 4.2.2 MMIO Device Register Layout.
inline constexpr std::uint32_t kMmioMagic = 0x74726976;     // "virt"
inline constexpr std::uint32_t kMmioVersion = 2;            // not legacy
inline constexpr std::uint32_t kMmioVendorId = 0x534e4c43;  // "CLNS"

enum MmioRegister : std::uint32_t {
  kRegisterMagic = 0x00,
  kRegisterVersion = 0x04,
  kRegisterDeviceId = 0x08,
  kRegisterVendorId = 0x0c,
  kRegisterDeviceFeatures = 0x10,
  kRegisterDeviceFeaturesSelect = 0x14,
  kRegisterDriverFeatures = 0x20,
  kRegisterDriverFeaturesSelect = 0x24,
  kRegisterQueueSelect = 0x30,
  kRegisterQueueSizeMax = 0x34,
  kRegisterQueueSize = 0x38,
  kRegisterQueueReady = 0x44,
  kRegisterQueueNotify = 0x50,
  kRegisterInterruptStatus = 0x60,
  kRegisterInterruptAck = 0x64,
  kRegisterStatus = 0x70,
  kRegisterQueueDescriptorsLow = 0x80,
  kRegisterQueueDescriptorsHigh = 0x84,
  kRegisterQueueDriverLow = 0x90,
  kRegisterQueueDriverHigh = 0x94,
  kRegisterQueueDeviceLow = 0xa0,
  kRegisterQueueDeviceHigh = 0xa4,
  kRegisterSharedMemoryLengthLow = 0xb0,
  kRegisterSharedMemoryLengthHigh = 0xb4,
  kRegisterConfigGeneration = 0xfc,
  kRegisterConfig = 0x100,
};

inline constexpr std::uint32_t kInterruptQueue = 1;
inline constexpr std::uint32_t kInterruptConfig = 2;

// 5 Device Types.
inline constexpr std::uint32_t kDeviceIdNet = 1;
inline constexpr std::uint32_t kDeviceIdBlock = 2;
inline constexpr std::uint32_t kDeviceIdRng = 4;
inline constexpr std::uint32_t kDeviceIdBalloon = 5;
inline constexpr std::uint32_t kDeviceIdVsock = 19;

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_VIRTIO_ABI_H_
