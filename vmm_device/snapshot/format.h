#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_FORMAT_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_FORMAT_H_

#include <bit>
#include <cstddef>
#include <cstdint>

// The bytes of state.csn as docs/formats/snapshot.md has them. All little-endian.
namespace clonesafe::snapshot::format {

static_assert(std::endian::native == std::endian::little);

inline constexpr std::uint64_t kMagic = 0x313050414e534c43;  // "CLSNAP01"
inline constexpr std::uint16_t kMajor = 1;
// A snapshot is written with the lowest minor version that has what it holds.
inline constexpr std::uint16_t kMinor = 5;
inline constexpr std::uint16_t kMinorWhole = 0;
inline constexpr std::uint16_t kMinorLayer = 1;
inline constexpr std::uint16_t kMinorMac = 1;
inline constexpr std::uint16_t kMinorSecretPages = 2;
inline constexpr std::uint16_t kMinorDisks = 3;
inline constexpr std::uint16_t kMinorNetworkDevices = 4;
inline constexpr std::uint16_t kMinorBalloon = 5;
inline constexpr std::uint32_t kMacNone = 0;
inline constexpr std::uint32_t kMacHmacSha256 = 1;
inline constexpr std::uint32_t kHeaderLength = 4096;
inline constexpr std::uint32_t kArchitectureX86_64 = 1;
inline constexpr std::uint32_t kPageShift = 12;
inline constexpr std::uint64_t kPageSize = 1u << kPageShift;
inline constexpr std::uint32_t kChunkSize = 64 * 1024;
inline constexpr std::uint64_t kMaxPayload = std::uint64_t{64} * 1024 * 1024;
inline constexpr std::size_t kMaxSections = 1024;
inline constexpr std::size_t kMaxRegions = 64;
inline constexpr std::size_t kMaxChain = 1024;

// Header flags. A reader ignores the low half's bits that it doesn't know, and refuses the high
// half's.
inline constexpr std::uint32_t kFlagAgentConnected = 1u << 0;
// Critical: an image of a running machine, in memory. Its memory has no digests, and no file is
// such an image.
inline constexpr std::uint32_t kFlagImage = 1u << 16;
inline constexpr std::uint32_t kCriticalFlags = 0xffff0000;

// The place of magic, the two version numbers, header_length and header_digest is the same in every
// version to come, so that any reader can tell damage from a format that it doesn't know.
struct Header {
  std::uint64_t magic;
  std::uint16_t major;
  std::uint16_t minor;
  std::uint32_t header_length;
  std::uint32_t architecture;
  std::uint32_t flags;
  std::uint64_t created_ns;
  std::uint64_t memory_size;
  std::uint32_t page_shift;
  std::uint32_t chunk_size;
  std::uint64_t payload_length;
  std::byte payload_digest[32];
  std::byte chunk_table_digest[32];
  std::byte id[16];
  std::byte parent[32];
  std::uint32_t mac_algorithm;  // 0: none
  std::uint32_t reserved0;
  std::byte mac[64];
  std::byte reserved1[0xfe0 - 0xf0];
  std::byte header_digest[32];  // SHA-256 of all before it
};
static_assert(offsetof(Header, header_length) == 0x0c);
static_assert(offsetof(Header, created_ns) == 0x18);
static_assert(offsetof(Header, memory_size) == 0x20);
static_assert(offsetof(Header, payload_length) == 0x30);
static_assert(offsetof(Header, payload_digest) == 0x38);
static_assert(offsetof(Header, chunk_table_digest) == 0x58);
static_assert(offsetof(Header, id) == 0x78);
static_assert(offsetof(Header, parent) == 0x88);
static_assert(offsetof(Header, mac_algorithm) == 0xa8);
static_assert(offsetof(Header, mac) == 0xb0);
static_assert(offsetof(Header, reserved1) == 0xf0);
static_assert(offsetof(Header, header_digest) == 0xfe0);
static_assert(sizeof(Header) == kHeaderLength);

struct SectionHeader {
  std::uint32_t tag;
  std::uint16_t version;
  std::uint16_t flags;
  std::uint64_t length;
};
static_assert(sizeof(SectionHeader) == 16);
inline constexpr std::uint16_t kSectionCritical = 1u << 0;

inline constexpr std::uint16_t kMemoryMapVersion = 1;
inline constexpr std::uint16_t kChunkDigestsVersion = 1;
inline constexpr std::uint16_t kLayerVersion = 1;
inline constexpr std::uint16_t kAttachedFileVersion = 1;
inline constexpr std::uint32_t kMaxAttachedName = 64;
struct MemoryMapEntry {
  std::uint64_t start;
  std::uint64_t size;
  std::uint64_t offset;
};
static_assert(sizeof(MemoryMapEntry) == 24);

}  // namespace clonesafe::snapshot::format

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_FORMAT_H_
