// The C++ view of clonesafe.h: the same promises, with exceptions for errors. Header only, C++17.
//
// Thread-, fork- and clone-safety are those of the C functions underneath. Objects of these classes
// are plain values: one of them must not be changed by two threads at a time.
#ifndef CLONESAFE_CLONESAFE_HPP_
#define CLONESAFE_CLONESAFE_HPP_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "clonesafe/clonesafe.h"
#include "clonesafe/error.hpp"
#include "clonesafe/ids.hpp"

namespace clonesafe {

// As cs_random. Throws LibraryError.
inline void random(void* buffer, std::size_t length) {
  if (const int result = cs_random(buffer, length); result != 0) throw LibraryError(result);
}

// As cs_random_private and cs_random_fresh. Throw LibraryError.
inline void random_private(void* buffer, std::size_t length) {
  if (const int result = cs_random_private(buffer, length); result != 0) throw LibraryError(result);
}
inline void random_fresh(void* buffer, std::size_t length) {
  if (const int result = cs_random_fresh(buffer, length); result != 0) throw LibraryError(result);
}

// A moment in the history of clones, restores and forks of this process.
class GenerationStamp {
 public:
  // Of now. Throws LibraryError.
  GenerationStamp() {
    if (const int result = cs_generation(&stamp_); result != 0) throw LibraryError(result);
  }
  // 0, or a sum of CS_CHANGED_ bits.
  int changes() const noexcept { return cs_changed_inline(&stamp_); }
  const cs_stamp& fields() const noexcept { return stamp_; }

 private:
  cs_stamp stamp_ = {};
};

// As cs_status. Throws LibraryError.
inline cs_status_report status() {
  cs_status_report report = {};
  if (const int result = cs_status(&report, sizeof(report)); result != 0)
    throw LibraryError(result);
  return report;
}

// Memory that no snapshot holds, see cs_secret_alloc. Freed with the object.
class SecretMemory {
 public:
  // `flags`: 0 or CS_SECRET_ALLOW_UNCOVERED. Throws LibraryError.
  explicit SecretMemory(std::size_t size, unsigned flags = 0) : size_(size) {
    if (const int result = cs_secret_alloc(size, flags, &memory_); result != 0)
      throw LibraryError(result);
  }
  SecretMemory(SecretMemory&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  SecretMemory& operator=(SecretMemory&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    return *this;
  }
  SecretMemory(const SecretMemory&) = delete;
  SecretMemory& operator=(const SecretMemory&) = delete;
  ~SecretMemory() { cs_secret_free(memory_); }

  unsigned char* data() const noexcept { return static_cast<unsigned char*>(memory_); }
  std::size_t size() const noexcept { return size_; }
  bool covered() const noexcept { return cs_secret_covered(memory_) == 1; }

 private:
  void* memory_ = nullptr;
  std::size_t size_ = 0;
};

// A UniformRandomBitGenerator, for the distributions of <random>. It has no state of its own, so
// copies of it don't repeat each other. operator() throws LibraryError.
class RandomBits {
 public:
  using result_type = std::uint64_t;
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<result_type>::max(); }
  result_type operator()() const {
    result_type value = 0;
    clonesafe::random(&value, sizeof(value));
    return value;
  }
};

}  // namespace clonesafe

#endif  // CLONESAFE_CLONESAFE_HPP_
