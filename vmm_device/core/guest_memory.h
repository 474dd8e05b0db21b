// core: what every part of the VMM needs of guest memory, buses and interrupts; no KVM in it.
//
// GuestMemory is the only way to guest memory: a guest address is a type that can't be
// dereferenced, and at() is the one place where an address from the guest becomes a pointer.
#ifndef CLONESAFE_VMM_DEVICE_CORE_GUEST_MEMORY_H_
#define CLONESAFE_VMM_DEVICE_CORE_GUEST_MEMORY_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/core/page_set.h"

namespace clonesafe {

// A guest-physical address.
class GuestAddress {
 public:
  constexpr GuestAddress() = default;
  constexpr explicit GuestAddress(std::uint64_t value) : value_(value) {}
  constexpr std::uint64_t value() const { return value_; }
  constexpr auto operator<=>(const GuestAddress&) const = default;
  constexpr GuestAddress operator+(std::uint64_t offset) const {
    return GuestAddress(value_ + offset);
  }

 private:
  std::uint64_t value_ = 0;
};

// The guest's memory as the host maps it. Does not own the mappings. Immutable after construction,
// so safe to use from any thread; the bytes themselves are shared with running vCPUs: read a value
// once, then check the copy.
class GuestMemory {
 public:
  struct Region {
    GuestAddress start;
    std::span<std::byte> bytes;
  };

  GuestMemory() = default;
  // Regions must not overlap and must not wrap around the address space.
  // `written`, if given, outlives this and all copies of it: what wrote() tells goes there.
  explicit GuestMemory(std::vector<Region> regions, PageSet* written = nullptr)
      : regions_(std::move(regions)), written_(written) {}

  // The `size` bytes at `address`, which must lie whole in one region. Size 0 is an error too:
  // nobody asks for it on purpose.
  Result<std::span<std::byte>> at(GuestAddress address, std::uint64_t size) const;

  // Copies a value out of, or into, guest memory.
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  Result<T> read(GuestAddress address) const {
    auto bytes = at(address, sizeof(T));
    if (!bytes) return fail(std::move(bytes).error());
    T value{};
    std::memcpy(&value, bytes->data(), sizeof(T));
    return value;
  }
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  Status write(GuestAddress address, const T& value) const {
    auto bytes = at(address, sizeof(T));
    if (!bytes) return fail(std::move(bytes).error());
    std::memcpy(bytes->data(), &value, sizeof(T));
    wrote(*bytes);
    return {};
  }

  // Must be called after every write by the host to bytes that at() gave: KVM's dirty log knows
  // only what vCPUs write, and a page that is in neither is missing in an incremental snapshot.
  void wrote(std::span<const std::byte> bytes) const {
    if (written_ != nullptr) mark(bytes);
  }

  const std::vector<Region>& regions() const { return regions_; }
  std::uint64_t total_size() const;

 private:
  void mark(std::span<const std::byte> bytes) const;
  std::vector<Region> regions_;
  PageSet* written_ = nullptr;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_CORE_GUEST_MEMORY_H_
