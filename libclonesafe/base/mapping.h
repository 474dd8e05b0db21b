#ifndef CLONESAFE_BASE_MAPPING_H_
#define CLONESAFE_BASE_MAPPING_H_

#include <sys/mman.h>
#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "libclonesafe/base/error.h"

namespace clonesafe {

// Owns a memory mapping.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      reset();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { reset(); }

  // mmap(2) with its own argument order; `what` names the object in the error.
  static Result<Mapping> map(std::string_view what, std::size_t size, int protection, int flags,
                             int fd = -1, off_t offset = 0) {
    void* data = ::mmap(nullptr, size, protection, flags, fd, offset);
    if (data == MAP_FAILED) return fail_errno(std::string("mmap of ") + std::string(what));
    Mapping mapping;
    mapping.data_ = static_cast<std::byte*>(data);
    mapping.size_ = size;
    return mapping;
  }

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {data_, size_}; }
  explicit operator bool() const { return data_ != nullptr; }
  void reset() {
    if (data_ != nullptr) ::munmap(data_, size_);
    data_ = nullptr;
    size_ = 0;
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace clonesafe

#endif  // CLONESAFE_BASE_MAPPING_H_
