#ifndef CLONESAFE_TESTS_LAB_NESTED_SEGMENTS_H_
#define CLONESAFE_TESTS_LAB_NESTED_SEGMENTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/lab/nested/host_network.h"

namespace clonesafe::lab {

// A TCP segment that a guest sent.
struct Segment {
  std::uint16_t source = 0;
  std::uint16_t destination = 0;
  std::uint32_t sequence = 0;
  bool opens = false;  // a SYN
  bool reset_or_end = false;
  std::string payload;
};
std::optional<Segment> segment_of(const std::string& frame);
std::vector<Segment> segments_of(const std::vector<Captured>& captured);

// The client's random of TLS, if that is what a connection's first segment begins.
std::optional<std::string> client_random(const Segment& segment);

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_SEGMENTS_H_
