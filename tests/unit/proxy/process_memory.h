#ifndef CLONESAFE_TESTS_UNIT_PROXY_PROCESS_MEMORY_H_
#define CLONESAFE_TESTS_UNIT_PROXY_PROCESS_MEMORY_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::proxy {

// All memory that a process can write to.
inline std::string memory_of(pid_t process) {
  const std::string folder = "/proc/" + std::to_string(process);
  const UniqueFd memory(::open((folder + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_GE(memory.get(), 0) << std::strerror(errno);
  std::ifstream maps(folder + "/maps");
  // Beyond it there is address space that was only reserved.
  constexpr std::uint64_t kMostOfAMapping = std::uint64_t{1} << 30;
  std::string all;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::uint64_t begin = 0, end = 0;
    char dash = 0;
    std::string rights;
    words >> std::hex >> begin >> dash >> end >> rights;
    if (!rights.starts_with("rw") || end - begin > kMostOfAMapping) continue;
    std::string part(end - begin, '\0');
    const ssize_t count =
        ::pread(memory.get(), part.data(), part.size(), static_cast<off_t>(begin));
    if (count > 0) all.append(part, 0, static_cast<std::size_t>(count));
  }
  return all;
}

// Of a process, those that have ended and were not waited for too.
inline std::vector<pid_t> children_of(pid_t process) {
  const std::string number = std::to_string(process);
  std::ifstream text("/proc/" + number + "/task/" + number + "/children");
  return {std::istream_iterator<pid_t>(text), std::istream_iterator<pid_t>()};
}

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_PROCESS_MEMORY_H_
