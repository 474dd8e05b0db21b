#ifndef CLONESAFE_VMM_DEVICE_CORE_STATE_CODEC_H_
#define CLONESAFE_VMM_DEVICE_CORE_STATE_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe {

// Writes a device's or vCPU's state as little-endian bytes for a section of the snapshot's state
// file.
class StateEncoder {
 public:
  template <typename T>
    requires(std::is_integral_v<T> || std::is_enum_v<T>)
  void put(T value) {
    raw(&value, sizeof value);
  }
  // Length-prefixed (u32) bytes.
  void put_bytes(std::span<const std::byte> bytes) {
    put(static_cast<std::uint32_t>(bytes.size()));
    raw(bytes.data(), bytes.size());
  }
  // A kernel ABI structure, as it lies in memory, length-prefixed.
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void put_struct(const T& value) {
    put_bytes(std::as_bytes(std::span<const T, 1>(&value, 1)));
  }

  const std::vector<std::byte>& bytes() const { return bytes_; }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void raw(const void* data, std::size_t size) {
    const auto* first = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), first, first + size);
  }
  std::vector<std::byte> bytes_;
};

// Reads such bytes back. The bytes are untrusted: every read is checked, and the first failure says
// where it was. `name` stands first in every error ("vcpu 0").
class StateDecoder {
 public:
  StateDecoder(std::string name, std::span<const std::byte> bytes)
      : name_(std::move(name)), bytes_(bytes) {}

  template <typename T>
    requires(std::is_integral_v<T> || std::is_enum_v<T>)
  Result<T> get() {
    T value{};
    if (auto status = raw(&value, sizeof value); !status) return fail(std::move(status).error());
    return value;
  }
  Result<std::span<const std::byte>> get_bytes(std::uint32_t max) {
    auto size = get<std::uint32_t>();
    if (!size) return fail(std::move(size).error());
    if (*size > max)
      return corrupt("length " + std::to_string(*size) + " is over the limit " +
                     std::to_string(max));
    if (*size > bytes_.size() - position_) return corrupt("cut short");
    auto span = bytes_.subspan(position_, *size);
    position_ += *size;
    return span;
  }
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  Result<T> get_struct() {
    auto bytes = get_bytes(sizeof(T));
    if (!bytes) return fail(std::move(bytes).error());
    if (bytes->size() != sizeof(T))
      return corrupt("a structure of " + std::to_string(bytes->size()) + " bytes, expected " +
                     std::to_string(sizeof(T)));
    T value{};
    std::memcpy(&value, bytes->data(), sizeof(T));
    return value;
  }
  // Everything must have been read.
  Status finish() const {
    if (position_ != bytes_.size())
      return corrupt(std::to_string(bytes_.size() - position_) + " bytes too many");
    return {};
  }
  std::unexpected<Error> corrupt(const std::string& what) const {
    return fail(name_ + ", byte " + std::to_string(position_) + ": " + what);
  }

 private:
  Status raw(void* data, std::size_t size) {
    if (size > bytes_.size() - position_) return corrupt("cut short");
    std::memcpy(data, bytes_.data() + position_, size);
    position_ += size;
    return {};
  }
  std::string name_;
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_CORE_STATE_CODEC_H_
