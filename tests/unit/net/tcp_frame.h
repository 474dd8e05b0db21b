#ifndef CLONESAFE_TESTS_UNIT_NET_TCP_FRAME_H_
#define CLONESAFE_TESTS_UNIT_NET_TCP_FRAME_H_

#include <cstdint>
#include <string>

namespace clonesafe {

inline constexpr std::uint8_t kTcpFin = 0x01, kTcpSyn = 0x02, kTcpReset = 0x04, kTcpAck = 0x10;

inline std::string bytes(std::initializer_list<unsigned> values) {
  std::string text;
  for (const unsigned value : values) text += static_cast<char>(value);
  return text;
}

// A TCP header with these flags, and two bytes.
inline std::string tcp_segment(std::uint8_t flags) {
  return bytes({0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 0, 0, 0, 0, 0}) +
         "ab";
}
// The header of an IPv4 packet; `offset` of a fragment in units of 8 bytes, `words` of options.
inline std::string ipv4(unsigned protocol, unsigned offset = 0, unsigned words = 0) {
  return bytes({0x45 + words, 0,        0, 42, 0,  1, offset >> 8, offset & 0xff,
                64,           protocol, 0, 0,  10, 0, 0,           2,
                10,           0,        0, 1}) +
         std::string(words * 4, '\1');
}
inline std::string ipv6(unsigned next) {
  return bytes({0x60, 0, 0, 0, 0, 42, next, 64}) + std::string(32, '\xfd');
}
// An IPv6 header of 8 bytes, `more` times 8 longer.
inline std::string extension(unsigned next, unsigned more = 0, unsigned offset = 0) {
  return bytes({next, more, offset >> 8, offset & 0xff, 0, 0, 0, 0}) + std::string(more * 8, '\0');
}
inline std::string ethernet(unsigned type, const std::string& tags = {}) {
  return std::string(12, '\2') + tags + bytes({type >> 8, type & 0xff});
}

inline std::string tcp_frame(std::uint8_t flags) {
  return ethernet(0x0800) + ipv4(6) + tcp_segment(flags);
}

}  // namespace clonesafe

#endif  // CLONESAFE_TESTS_UNIT_NET_TCP_FRAME_H_
