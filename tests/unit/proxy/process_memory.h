#ifndef CLONESAFE_TESTS_UNIT_PROXY_PROCESS_MEMORY_H_
#define CLONESAFE_TESTS_UNIT_PROXY_PROCESS_MEMORY_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/crypto.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::proxy {

// Gives each piece of memory that a process can write to: where it begins, and what is there.
template <typename Take>
void read_memory(pid_t process, std::size_t most, Take take) {
  const std::string folder = "/proc/" + std::to_string(process);
  const UniqueFd memory(::open((folder + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_GE(memory.get(), 0) << std::strerror(errno);
  std::ifstream maps(folder + "/maps");
  // Beyond it there is address space that was only reserved.
  constexpr std::uint64_t kMostOfAMapping = std::uint64_t{1} << 30;
  std::string part;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::uint64_t begin = 0, end = 0;
    char dash = 0;
    std::string rights;
    words >> std::hex >> begin >> dash >> end >> rights;
    if (!rights.starts_with("rw") || end - begin > kMostOfAMapping) continue;
    for (ssize_t count = 1; begin < end && count > 0; begin += static_cast<std::uint64_t>(count)) {
      part.resize(std::min<std::uint64_t>(end - begin, most));
      count = ::pread(memory.get(), part.data(), part.size(), static_cast<off_t>(begin));
      part.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
      take(part);
    }
  }
}

// All of it.
inline std::string memory_of(pid_t process) {
  std::string all;
  read_memory(process, std::size_t{1} << 30, [&](const std::string& part) { all += part; });
  return all;
}

// Of which nothing must be left behind. Long, so that not all that is left is written over by
// others; the same each time, and nowhere in the program's own text.
constexpr std::size_t kLongSecret = 64'000;
template <typename Take>
void draw_long_secret(Take take) {
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < kLongSecret; ++i) {
    state = state * 1'103'515'245 + 12'345;
    take(static_cast<char>('a' + (state >> 16) % 26));
  }
}
inline std::string long_secret() {
  std::string text;
  text.reserve(kLongSecret);
  draw_long_secret([&](char c) { text += c; });
  return text;
}
inline void wipe(std::string& text) {
  OPENSSL_cleanse(text.data(), text.size());
}
// In this process, once each of its owners has wiped it. What is searched for is in memory too, and
// therefore in another form; and not where something that is left could be.
inline bool is_left_of_long_secret() {
  constexpr std::size_t kPart = 32, kStep = 1'000, kAtOnce = std::size_t{1} << 20;
  constexpr char kMask = 0x55;
  static std::array<char, kLongSecret> masked;
  draw_long_secret([at = masked.begin()](char c) mutable { *at++ = static_cast<char>(c ^ kMask); });
  bool found = false;
  read_memory(::getpid(), kAtOnce, [&](std::string& memory) {
    for (char& c : memory) c = static_cast<char>(c ^ kMask);
    for (std::size_t at = 0; at + kPart <= masked.size(); at += kStep)
      found = found || memory.contains(std::string_view(masked.data() + at, kPart));
    wipe(memory);
  });
  return found;
}

// Of a process, those that have ended and were not waited for too.
inline std::vector<pid_t> children_of(pid_t process) {
  const std::string number = std::to_string(process);
  std::ifstream text("/proc/" + number + "/task/" + number + "/children");
  return {std::istream_iterator<pid_t>(text), std::istream_iterator<pid_t>()};
}

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_PROCESS_MEMORY_H_
