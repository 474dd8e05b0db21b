#include "vmm_device/core/page_discard.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace clonesafe {
namespace {

constexpr std::uint64_t kPage = PageSet::kPageSize;

bool is_zero(std::span<const std::byte> page) {
  return page[0] == std::byte{0} && std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0;
}

// Reading a page of a snapshot's file costs nothing, writing one a copy.
void write_zeros(std::span<std::byte> bytes) {
  for (; !bytes.empty(); bytes = bytes.subspan(kPage))
    if (!is_zero(bytes.first(kPage))) std::memset(bytes.data(), 0, kPage);
}

}  // namespace

std::uint64_t PageDiscard::discard(std::span<std::byte> bytes,
                                   std::span<const std::uint64_t> kept) {
  std::uint64_t first = 0;  // of the region, as PageSet counts
  for (const GuestMemory::Region& region : memory_.regions()) {
    const auto start = reinterpret_cast<std::uintptr_t>(region.bytes.data());
    const auto at = reinterpret_cast<std::uintptr_t>(bytes.data());
    if (at < start || at - start >= region.bytes.size()) {
      first += region.bytes.size() / kPage;
      continue;
    }
    const std::uint64_t end =
        std::min<std::uint64_t>(at - start + bytes.size(), region.bytes.size()) / kPage;
    std::uint64_t page = (at - start + kPage - 1) / kPage;
    const std::uint64_t guest_first = region.start.value() / kPage;
    auto next_kept = std::ranges::lower_bound(kept, guest_first + page);
    std::uint64_t discarded = 0;
    while (page < end) {
      std::uint64_t stop = end;
      if (next_kept != kept.end()) stop = std::min(stop, *next_kept++ - guest_first);
      if (stop > page) {
        const auto run = region.bytes.subspan(page * kPage, (stop - page) * kPage);
        if (discard_run(run, first + page)) discarded += stop - page;
      }
      page = stop + 1;
    }
    return discarded;
  }
  return 0;
}

bool PageDiscard::discard_run(std::span<std::byte> bytes, std::uint64_t first) {
  const bool done = below_ == Below::kZeros
                        ? ::madvise(bytes.data(), bytes.size(), MADV_DONTNEED) == 0
                        : map_zeros(bytes, first);
  if (done) memory_.wrote(bytes);
  return done;
}

bool PageDiscard::map_zeros(std::span<std::byte> bytes, std::uint64_t first) {
  if (own_.pages() == 0) own_ = PageSet(memory_.total_size() / kPage);
  const std::uint64_t last = first + bytes.size() / kPage;
  const auto begins = [&](std::uint64_t page) {
    return page < own_.pages() && own_.contains(page) && (page == 0 || !own_.contains(page - 1));
  };
  bool all_own = true;
  std::uint64_t pieces = 0;  // that begin here, and right behind
  for (std::uint64_t page = first; page <= last; ++page) {
    if (begins(page)) ++pieces;
    if (page < last && !own_.contains(page)) all_own = false;
  }
  if (all_own) return ::madvise(bytes.data(), bytes.size(), MADV_DONTNEED) == 0;

  // They become one, or part of the one before.
  const bool joins = first != 0 && own_.contains(first - 1);
  const std::uint64_t after = pieces_ - pieces + (joins ? 0 : 1);
  if (after > max_pieces_ ||
      ::mmap(bytes.data(), bytes.size(), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
    write_zeros(bytes);
    return true;
  }
  for (std::uint64_t page = first; page < last; ++page) own_.insert(page);
  pieces_ = after;
  // As all of the guest's memory. It can only fail for a mapping that isn't there.
  static_cast<void>(::madvise(bytes.data(), bytes.size(), MADV_DONTDUMP));
  return true;
}

}  // namespace clonesafe
