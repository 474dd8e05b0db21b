#include "tests/lab/nested/segments.h"

#include <netinet/in.h>

namespace clonesafe::lab {

std::optional<Segment> segment_of(const std::string& frame) {
  const auto byte = [&frame](std::size_t at) { return static_cast<std::uint8_t>(frame[at]); };
  const auto word = [&byte](std::size_t at) {
    return static_cast<std::uint16_t>(byte(at) << 8 | byte(at + 1));
  };
  if (frame.size() < 54 || word(12) != 0x0800 || byte(23) != IPPROTO_TCP) return std::nullopt;
  const std::size_t tcp = 14 + std::size_t{4} * (byte(14) & 15);
  const std::size_t end = std::size_t{14} + word(16);
  if (frame.size() < tcp + 20 || frame.size() < end) return std::nullopt;
  const std::size_t data = tcp + std::size_t{4} * (byte(tcp + 12) >> 4);
  Segment segment;
  segment.source = word(tcp);
  segment.destination = word(tcp + 2);
  segment.sequence = std::uint32_t{word(tcp + 4)} << 16 | word(tcp + 6);
  segment.opens = (byte(tcp + 13) & 2) != 0;
  segment.reset_or_end = (byte(tcp + 13) & 5) != 0;
  if (data < end) segment.payload = frame.substr(data, end - data);
  return segment;
}

std::vector<Segment> segments_of(const std::vector<Captured>& captured) {
  std::vector<Segment> segments;
  for (const Captured& frame : captured) {
    if (auto segment = segment_of(frame.frame)) segments.push_back(*std::move(segment));
  }
  return segments;
}

std::optional<std::string> client_random(const Segment& segment) {
  constexpr std::size_t kAt = 11, kSize = 32;
  // A record of the handshake that holds a ClientHello.
  if (segment.payload.size() < kAt + kSize || segment.payload[0] != 0x16 ||
      segment.payload[5] != 0x01)
    return std::nullopt;
  return segment.payload.substr(kAt, kSize);
}

}  // namespace clonesafe::lab
