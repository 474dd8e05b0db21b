#ifndef CLONESAFE_TESTS_LAB_NESTED_MOTION_WIRE_H_
#define CLONESAFE_TESTS_LAB_NESTED_MOTION_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

// What guest_motion and the host's ends of its streams say to each other. All is a function of a
// few numbers, so that either end knows what must have come.
namespace clonesafe::lab {

inline constexpr int kStreams = 3;
inline constexpr unsigned kStreamsPort = 5100;    // numbered records, each acknowledged
inline constexpr unsigned kExchangesPort = 5101;  // bytes, the end of them, and their sum back
inline constexpr int kDatagramsPort = 9002;       // numbers, over the network

// A guest begins each connection to kStreamsPort so: which of its streams it is, and the last
// record that was acknowledged. The one after it comes next.
inline constexpr std::uint64_t kIdle = kStreams;  // a stream on which nobody says anything more
struct Hello {
  std::uint64_t stream;
  std::uint64_t acknowledged;
};
// Before the bytes of a record. The answer to it is its number.
struct Record {
  std::uint64_t number;
  std::uint64_t size;
};
inline constexpr std::size_t kMaxRecord = 6000;

// splitmix64: `index`-th of the numbers of `seed`.
inline std::uint64_t mixed(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t x = seed * 0x9e3779b97f4a7c15 + (index + 1) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

inline std::vector<char> record_bytes(std::uint64_t stream, std::uint64_t number) {
  const std::uint64_t seed = mixed(stream, number);
  std::vector<char> bytes(static_cast<std::size_t>(seed % (kMaxRecord + 1)));
  for (std::size_t at = 0; at < bytes.size(); at += sizeof seed) {
    const std::uint64_t word = mixed(seed, at);
    std::memcpy(&bytes[at], &word,
                bytes.size() - at < sizeof word ? bytes.size() - at : sizeof word);
  }
  return bytes;
}

// FNV-1a.
inline std::uint64_t sum_of(const char* bytes, std::size_t size, std::uint64_t sum) {
  for (std::size_t i = 0; i < size; ++i)
    sum = (sum ^ static_cast<unsigned char>(bytes[i])) * 0x100000001b3;
  return sum;
}
inline constexpr std::uint64_t kNoSum = 0xcbf29ce484222325;

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_MOTION_WIRE_H_
