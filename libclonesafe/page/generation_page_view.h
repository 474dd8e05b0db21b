// page: reading and writing the generation page, by the rules of clonesafe/abi/generation_page.h.
//
// This header is the reader's protocol over a page that is already mapped: no allocation, no system
// call, no exception, so that libclonesafe can use it on its hot path and a fuzzer can run it over
// arbitrary bytes. Every function is bounded: a torn, wedged or hostile page costs a reader a fixed
// number of copies, then a PageCondition that says so.
#ifndef CLONESAFE_PAGE_GENERATION_PAGE_VIEW_H_
#define CLONESAFE_PAGE_GENERATION_PAGE_VIEW_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "clonesafe/abi/generation_page.h"

namespace clonesafe {

static_assert(std::endian::native == std::endian::little,
              "the page is little-endian and read in place");

enum class PageCondition : std::uint8_t {
  kUsable,
  kTooSmall,        // the file is shorter than the page
  kBadMagic,        // not a generation page
  kUnknownVersion,  // a layout this reader doesn't know
  kBadSize,         // the page's own size field is not the layout's
  kUnpublished,     // no slot was ever committed, or the control word names a slot that can't be
  kUnsettled,       // the control word moved at every try
};

const char* describe(PageCondition condition);

// As reports print the slot's enums: "safe", "lagging"; "unknown" for a value without a name.
const char* state_name(std::uint32_t state);
const char* tier_name(std::uint32_t tier);

// One consistent copy of the slot in force, with the control word that named it.
struct GenerationSnapshot {
  std::uint64_t control = 0;
  clonesafe_generation_slot slot = {};
};

inline constexpr int kGenerationReadTries = 16;

// The one load that tells whether anything changed. Compare with !=.
inline std::uint64_t load_generation_control(const clonesafe_generation_page& page) {
  return __atomic_load_n(&page.control, __ATOMIC_ACQUIRE);
}

// Whether the fixed fields are those of a page that this reader knows.
inline PageCondition check_generation_page(const clonesafe_generation_page& page) {
  if (__atomic_load_n(&page.magic, __ATOMIC_ACQUIRE) != CLONESAFE_GENERATION_PAGE_MAGIC) {
    return PageCondition::kBadMagic;
  }
  if (__atomic_load_n(&page.version, __ATOMIC_RELAXED) != CLONESAFE_GENERATION_PAGE_VERSION) {
    return PageCondition::kUnknownVersion;
  }
  if (__atomic_load_n(&page.size, __ATOMIC_RELAXED) != CLONESAFE_GENERATION_PAGE_SIZE) {
    return PageCondition::kBadSize;
  }
  return PageCondition::kUsable;
}

// Slots are copied as relaxed 64-bit words: the other side may be a writer in another process, or a
// VMM that wrote while this thread stood still in the middle of the copy.
inline void copy_generation_slot(const clonesafe_generation_slot& from,
                                 clonesafe_generation_slot& to) {
  constexpr std::size_t kWords = sizeof(clonesafe_generation_slot) / sizeof(std::uint64_t);
  const auto* source = reinterpret_cast<const std::uint64_t*>(&from);
  std::uint64_t words[kWords];
  for (std::size_t i = 0; i < kWords; ++i) words[i] = __atomic_load_n(&source[i], __ATOMIC_RELAXED);
  std::memcpy(&to, words, sizeof(to));
}

// Copies the slot in force. On anything but kUsable `snapshot` is unspecified. `after_copy` runs
// between the copy and its check; tests change the page there.
template <typename AfterCopy>
PageCondition read_generation_page(const clonesafe_generation_page& page,
                                   GenerationSnapshot& snapshot, AfterCopy after_copy) {
  if (const PageCondition condition = check_generation_page(page);
      condition != PageCondition::kUsable) {
    return condition;
  }
  for (int i = 0; i < kGenerationReadTries; ++i) {
    const std::uint64_t control = load_generation_control(page);
    const unsigned slot = CLONESAFE_GENERATION_SLOT_OF(control);
    // Count 0 is the zeroed page before its first commit.
    if (slot >= CLONESAFE_GENERATION_SLOTS || (control >> 2) == 0) {
      return PageCondition::kUnpublished;
    }
    copy_generation_slot(page.slots[slot], snapshot.slot);
    after_copy();
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&page.control, __ATOMIC_RELAXED) == control) {
      snapshot.control = control;
      return PageCondition::kUsable;
    }
  }
  return PageCondition::kUnsettled;
}

inline PageCondition read_generation_page(const clonesafe_generation_page& page,
                                          GenerationSnapshot& snapshot) {
  return read_generation_page(page, snapshot, [] {});
}

}  // namespace clonesafe

#endif  // CLONESAFE_PAGE_GENERATION_PAGE_VIEW_H_
