#ifndef CLONESAFE_VMM_DEVICE_CORE_PAGE_SET_H_
#define CLONESAFE_VMM_DEVICE_CORE_PAGE_SET_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace clonesafe {

// A set of pages of guest memory, numbered from 0 as the regions lie end to end. insert() may be
// called from any thread at any time; all else while nobody inserts.
class PageSet {
 public:
  static constexpr std::uint64_t kPageSize = 4096;

  explicit PageSet(std::uint64_t pages = 0) : pages_(pages), words_((pages + 63) / 64) {}
  // A set whose bytes() these are; bits past the last page must be 0.
  PageSet(std::uint64_t pages, std::span<const std::byte> bytes) : PageSet(pages) {
    if (!bytes.empty()) std::memcpy(words_.data(), bytes.data(), bytes.size());
  }

  static std::uint64_t bytes_for(std::uint64_t pages) { return (pages + 7) / 8; }
  std::uint64_t pages() const { return pages_; }

  void insert(std::uint64_t page) {
    const std::atomic_ref<std::uint64_t> word(words_[page / 64]);
    const std::uint64_t bit = std::uint64_t{1} << page % 64;
    // Most writes are to pages that are in already: those don't take the cache line.
    if ((word.load(std::memory_order_relaxed) & bit) == 0)
      word.fetch_or(bit, std::memory_order_relaxed);
  }
  // Pages of a bitmap as KVM gives it for a memory slot whose first page is `first`.
  void insert_bitmap(std::uint64_t first, std::span<const std::uint64_t> bitmap) {
    for (std::size_t i = 0; i < bitmap.size(); ++i)
      for (std::uint64_t word = bitmap[i]; word != 0; word &= word - 1)
        insert(first + 64 * i + static_cast<std::uint64_t>(std::countr_zero(word)));
  }
  bool contains(std::uint64_t page) const { return (words_[page / 64] >> page % 64 & 1) != 0; }
  bool contains_any(std::uint64_t first, std::uint64_t count) const {
    for (std::uint64_t page = first; page < first + count; ++page)
      if (contains(page)) return true;
    return false;
  }
  std::uint64_t count() const {
    std::uint64_t total = 0;
    for (const std::uint64_t word : words_) total += static_cast<unsigned>(std::popcount(word));
    return total;
  }
  void clear() { words_.assign(words_.size(), 0); }

  // One bit a page, the lowest bit of a byte first.
  std::span<const std::byte> bytes() const {
    static_assert(std::endian::native == std::endian::little);
    return std::as_bytes(std::span(words_)).first(bytes_for(pages_));
  }

 private:
  std::uint64_t pages_;
  std::vector<std::uint64_t> words_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_CORE_PAGE_SET_H_
