#ifndef CLONESAFE_CORE_RESTORE_HISTORY_H_
#define CLONESAFE_CORE_RESTORE_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "clonesafe/clonesafe.h"
#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe::core {

// 64 bits that stand for some bytes (a multiple of eight); 0 for zeros. Not secret, not keyed.
template <std::size_t kSize>
std::uint64_t fold(const std::uint8_t (&bytes)[kSize]) {
  std::uint64_t folded = 0;
  for (std::size_t i = 0; i < kSize; i += sizeof(folded)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + i, sizeof(word));
    // Rotated and multiplied, so that equal words don't cancel out.
    folded = (folded << 29 | folded >> 35) * 0x9e3779b97f4a7c15U + word;
  }
  return folded;
}

// What the host gave a restore although an earlier one in the same line of descent had it.
struct Repetition {
  std::uint32_t what = 0;    // CS_REPEATED_
  std::uint64_t so_far = 0;  // how many such restores there were, this one included

  bool of_mark() const { return (what & CS_REPEATED_SEED) != 0; }
};

// The restores that this process and what it descends from saw on the page: their ids and seeds,
// folded. It lies in memory that clones copy, so a line of descent carries its own. What siblings
// were given, nobody in this machine can know.
class RestoreHistory {
 public:
  // Takes in what `page` tells, if it is new, and says what of it is repeated.
  Repetition note(const void* page, const GenerationSnapshot& snapshot);

 private:
  struct Restore {
    std::uint64_t generation;
    std::uint64_t reseed_epoch;
    std::uint64_t id;
    std::uint64_t seed;  // stands for the diversifier
    std::uint64_t vm_generation_id;

    bool operator==(const Restore&) const = default;
  };
  static constexpr std::size_t kRemembered = 32;

  std::uint32_t repeated_by(const Restore& restore) const;

  Restore restores_[kRemembered] = {};
  std::uint64_t count_ = 0;  // the newest is count_ - 1
  const void* page_ = nullptr;
  std::uint64_t control_ = 0;  // the last that was looked at
  Repetition newest_;
};

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_RESTORE_HISTORY_H_
