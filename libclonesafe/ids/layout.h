#ifndef CLONESAFE_IDS_LAYOUT_H_
#define CLONESAFE_IDS_LAYOUT_H_

#include <cstdint>
#include <cstring>

#include "libclonesafe/ids/thread_identifiers.h"

namespace clonesafe::ids {

// 1582-10-15 to 1970-01-01 in units of 100 ns (RFC 9562, section 5.1).
inline constexpr std::uint64_t kGregorianToUnixTicks = 0x01b21dd213814000;
inline constexpr unsigned kTickBits = 60;
inline constexpr unsigned kMillisecondBits = 48;
inline constexpr unsigned kUuid7TailBits = 74;
inline constexpr unsigned kUlidTailBits = 80;

inline void put_big_endian(std::uint64_t value, unsigned char* output, int size) {
  for (int i = size - 1; i >= 0; --i) {
    output[i] = static_cast<unsigned char>(value);
    value >>= 8;
  }
}

inline std::uint64_t get_big_endian(const unsigned char* input, int size) {
  std::uint64_t value = 0;
  for (int i = 0; i < size; ++i) value = value << 8 | input[i];
  return value;
}

// RFC 9562, 4.1 and 4.2: variant 10.
inline void put_version(unsigned version, unsigned char* uuid) {
  uuid[6] = static_cast<unsigned char>((uuid[6] & 0x0f) | version << 4);
  uuid[8] = static_cast<unsigned char>((uuid[8] & 0x3f) | 0x80);
}

inline void put_uuid1(const TimeBased& from, unsigned char* uuid) {
  put_big_endian(from.ticks, uuid, 4);
  put_big_endian(from.ticks >> 32, uuid + 4, 2);
  put_big_endian(from.ticks >> 48, uuid + 6, 2);
  put_big_endian(from.clock_sequence, uuid + 8, 2);
  std::memcpy(uuid + 10, from.node, sizeof(from.node));
  put_version(1, uuid);
}

inline void put_uuid6(const TimeBased& from, unsigned char* uuid) {
  put_big_endian(from.ticks >> 28, uuid, 4);
  put_big_endian(from.ticks >> 12, uuid + 4, 2);
  put_big_endian(from.ticks & 0xfff, uuid + 6, 2);
  put_big_endian(from.clock_sequence, uuid + 8, 2);
  std::memcpy(uuid + 10, from.node, sizeof(from.node));
  put_version(6, uuid);
}

inline void put_uuid7(const Monotonic& from, unsigned char* uuid) {
  put_big_endian(from.milliseconds, uuid, 6);
  put_big_endian(static_cast<std::uint64_t>(from.tail >> 62), uuid + 6, 2);
  put_big_endian(static_cast<std::uint64_t>(from.tail), uuid + 8, 8);
  put_version(7, uuid);
}

inline void put_ulid(const Monotonic& from, unsigned char* ulid) {
  put_big_endian(from.milliseconds, ulid, 6);
  put_big_endian(static_cast<std::uint64_t>(from.tail >> 64), ulid + 6, 2);
  put_big_endian(static_cast<std::uint64_t>(from.tail), ulid + 8, 8);
}

}  // namespace clonesafe::ids

#endif  // CLONESAFE_IDS_LAYOUT_H_
