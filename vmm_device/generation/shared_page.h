#ifndef CLONESAFE_VMM_DEVICE_GENERATION_SHARED_PAGE_H_
#define CLONESAFE_VMM_DEVICE_GENERATION_SHARED_PAGE_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace clonesafe {

static_assert(std::endian::native == std::endian::little, "the pages are little-endian");

// One 4 KiB page that the guest maps too. Every access is an atomic one: the compiler may neither
// tear, repeat nor drop it, and a guest that writes at the same moment is a value, not a data race.
// The caller gives offsets that are in the page and aligned to the type.
class SharedPage {
 public:
  static constexpr std::size_t kSize = 0x1000;

  explicit SharedPage(std::byte* page) : page_(page) {}

  template <typename T>
    requires std::is_integral_v<T>
  T load(std::size_t offset) const {
    return std::atomic_ref<T>(at<T>(offset)).load(std::memory_order_acquire);
  }
  template <typename T>
    requires std::is_integral_v<T>
  void store(std::size_t offset, T value, std::memory_order order = std::memory_order_relaxed) {
    std::atomic_ref<T>(at<T>(offset)).store(value, order);
  }

  // Offset and size in whole 64-bit words.
  void store_words(std::size_t offset, std::span<const std::byte> bytes) {
    for (std::size_t done = 0; done < bytes.size(); done += sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + done, sizeof word);
      store(offset + done, word);
    }
  }
  void store_bytes(std::size_t offset, std::span<const std::byte> bytes) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      store(offset + i, std::to_integer<std::uint8_t>(bytes[i]));
    }
  }
  void zero(std::size_t offset, std::size_t size) {
    for (std::size_t done = 0; done < size; done += sizeof(std::uint64_t)) {
      store(offset + done, std::uint64_t{0});
    }
  }
  void load_words(std::size_t offset, std::span<std::byte> bytes) const {
    for (std::size_t done = 0; done < bytes.size(); done += sizeof(std::uint64_t)) {
      const auto word = load<std::uint64_t>(offset + done);
      std::memcpy(bytes.data() + done, &word, sizeof word);
    }
  }

  // The writer's half of a seqlock (VMCLOCK 1.1): odd, fence, fields, fence, even. A word that is
  // odd already (a snapshot that was taken in the middle of a write) stays odd and moves on from
  // there, so that a reader that saw any earlier value sees another one afterwards.
  void begin_update(std::size_t sequence) {
    store(sequence, load<std::uint32_t>(sequence) | 1);
    std::atomic_thread_fence(std::memory_order_release);
  }
  void end_update(std::size_t sequence) {
    store(sequence, load<std::uint32_t>(sequence) + 1, std::memory_order_release);
  }

 private:
  template <typename T>
  T& at(std::size_t offset) const {
    return *reinterpret_cast<T*>(page_ + offset);
  }
  std::byte* page_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_GENERATION_SHARED_PAGE_H_
