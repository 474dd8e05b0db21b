// What is read from UUIDs and ULIDs, and their texts.
#include <cstring>

#include "clonesafe/ids.h"
#include "libclonesafe/ids/layout.h"

namespace {

using namespace clonesafe::ids;

constexpr char kUrn[] = "urn:uuid:";
constexpr std::size_t kUrnLength = sizeof(kUrn) - 1;
constexpr std::size_t kUuidLength = 36;
constexpr std::size_t kUlidLength = 26;
// Crockford's base 32: no I, L, O and U.
constexpr char kBase32[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

// Of ASCII; no locale has a say.
char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

// Of the first `count` digits of kBase32, -1 for anything else.
int value_of(char digit, int count) {
  const char wanted = upper(digit);
  for (int i = 0; i < count; ++i) {
    if (kBase32[i] == wanted) return i;
  }
  return -1;
}

bool starts_as_urn(const char* text) {
  for (std::size_t i = 0; i < kUrnLength; ++i) {
    if (upper(text[i]) != upper(kUrn[i])) return false;
  }
  return true;
}

bool parse_uuid(const char* text, unsigned char* uuid) {
  int digits = 0;
  for (std::size_t i = 0; i < kUuidLength; ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i] != '-') return false;
      continue;
    }
    const int value = value_of(text[i], 16);
    if (value < 0) return false;
    unsigned char& byte = uuid[digits++ / 2];
    byte = static_cast<unsigned char>(byte << 4 | value);
  }
  return true;
}

}  // namespace

int cs_uuid_parse(const char* text, size_t length, unsigned char uuid[16]) {
  if (uuid == nullptr) return CS_E_INVALID;
  std::memset(uuid, 0, 16);
  if (text == nullptr) return CS_E_INVALID;
  if (length == kUrnLength + kUuidLength && starts_as_urn(text)) {
    text += kUrnLength;
    length -= kUrnLength;
  }
  if (length == kUuidLength && parse_uuid(text, uuid)) return 0;
  std::memset(uuid, 0, 16);
  return CS_E_INVALID;
}

int cs_uuid_version(const unsigned char uuid[16]) {
  if (uuid == nullptr) return 0;
  return (uuid[8] & 0xc0) == 0x80 ? uuid[6] >> 4 : 0;
}

int cs_uuid_time(const unsigned char uuid[16], struct timespec* time) {
  if (time == nullptr) return CS_E_INVALID;
  *time = {};
  if (uuid == nullptr) return CS_E_INVALID;
  std::uint64_t ticks = 0;
  switch (cs_uuid_version(uuid)) {
    case 1:
      ticks = (get_big_endian(uuid + 6, 2) & 0xfff) << 48 | get_big_endian(uuid + 4, 2) << 32 |
              get_big_endian(uuid, 4);
      break;
    case 6:
      ticks = get_big_endian(uuid, 6) << 12 | (get_big_endian(uuid + 6, 2) & 0xfff);
      break;
    case 7: {
      const std::uint64_t milliseconds = get_big_endian(uuid, 6);
      time->tv_sec = static_cast<time_t>(milliseconds / 1000);
      time->tv_nsec = static_cast<long>(milliseconds % 1000) * 1'000'000;
      return 0;
    }
    default:
      return CS_E_INVALID;
  }
  // A timespec counts nanoseconds upwards, also before 1970.
  constexpr std::uint64_t kTicksOfSecond = 10'000'000;
  static_assert(kGregorianToUnixTicks % kTicksOfSecond == 0);
  time->tv_sec = static_cast<time_t>(ticks / kTicksOfSecond) -
                 static_cast<time_t>(kGregorianToUnixTicks / kTicksOfSecond);
  time->tv_nsec = static_cast<long>(ticks % kTicksOfSecond) * 100;
  return 0;
}

void cs_ulid_text(const unsigned char ulid[16], char text[27]) {
  if (text == nullptr) return;
  text[0] = '\0';
  if (ulid == nullptr) return;
  Bits128 value = Bits128{get_big_endian(ulid, 8)} << 64 | get_big_endian(ulid + 8, 8);
  text[kUlidLength] = '\0';
  for (std::size_t i = kUlidLength; i-- > 0;) {
    text[i] = kBase32[static_cast<unsigned>(value & 31)];
    value >>= 5;
  }
}

int cs_ulid_parse(const char* text, size_t length, unsigned char ulid[16]) {
  if (ulid == nullptr) return CS_E_INVALID;
  std::memset(ulid, 0, 16);
  // 26 digits hold 130 bits: the first may be 7 at most.
  if (text == nullptr || length != kUlidLength || value_of(text[0], 8) < 0) return CS_E_INVALID;
  Bits128 value = 0;
  for (std::size_t i = 0; i < kUlidLength; ++i) {
    const int digit = value_of(text[i], 32);
    if (digit < 0) return CS_E_INVALID;
    value = value << 5 | static_cast<unsigned>(digit);
  }
  put_big_endian(static_cast<std::uint64_t>(value >> 64), ulid, 8);
  put_big_endian(static_cast<std::uint64_t>(value), ulid + 8, 8);
  return 0;
}
