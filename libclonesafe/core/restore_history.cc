#include "libclonesafe/core/restore_history.h"

#include <algorithm>

namespace clonesafe::core {

std::uint32_t RestoreHistory::repeated_by(const Restore& restore) const {
  std::uint32_t what = 0;
  const auto end = restores_ + std::min<std::uint64_t>(count_, kRemembered);
  for (const Restore* earlier = restores_; earlier != end; ++earlier) {
    if (restore.id != 0 && earlier->id == restore.id) what |= CS_REPEATED_RESTORE_ID;
    if (restore.seed != 0 && earlier->seed == restore.seed) what |= CS_REPEATED_SEED;
    // The source that goes on, and a machine that moved, keep generation and VM Generation ID.
    if (restore.vm_generation_id != 0 && earlier->vm_generation_id == restore.vm_generation_id &&
        (earlier->generation != restore.generation || earlier->id == restore.id)) {
      what |= CS_REPEATED_VM_GENERATION_ID;
    }
  }
  return what;
}

Repetition RestoreHistory::note(const void* page, const GenerationSnapshot& snapshot) {
  const std::uint64_t control = snapshot.control;
  // A thread that looked before another, which noted what came after.
  const bool older = page == page_ && control >> 2 < control_ >> 2;
  if (count_ != 0 && (older || (page == page_ && control == control_))) return newest_;
  const bool same_page = page == page_;
  page_ = page;
  control_ = control;

  const clonesafe_generation_slot& slot = snapshot.slot;
  const Restore restore = {.generation = slot.generation,
                           .reseed_epoch = slot.reseed_epoch,
                           .id = fold(slot.restore_id),
                           .seed = fold(slot.diversifier),
                           .vm_generation_id = fold(slot.vm_generation_id)};
  // The agent publishes a restore several times. The VMM writes once, before anybody has run: what
  // it writes on a page that was read already is another restore, however equal.
  const bool vmm_wrote = CLONESAFE_GENERATION_SLOT_OF(control) == CLONESAFE_GENERATION_VMM_SLOT;
  const bool same = count_ != 0 && restore == restores_[(count_ - 1) % kRemembered];
  if (same && !(vmm_wrote && same_page)) return newest_;

  newest_.what = repeated_by(restore);
  newest_.so_far += newest_.what != 0;
  restores_[count_++ % kRemembered] = restore;
  return newest_;
}

}  // namespace clonesafe::core
