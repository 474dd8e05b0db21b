#ifndef CLONESAFE_IDS_MAKING_H_
#define CLONESAFE_IDS_MAKING_H_

#include <cerrno>

#include "libclonesafe/core/seams.h"
#include "libclonesafe/core/thread_state.h"

namespace clonesafe::ids {

// Fills `value` (16 bytes) by `make(generator, identifiers, stamp)`, which returns a code. The
// stamp is read before and compared after; if it moved, the value is made again.
template <typename Make>
int make_unchanged(unsigned char* value, Make make) {
  using namespace core;
  constexpr int kTries = 8;
  if (value == nullptr) return CS_E_INVALID;
  const int kept_errno = errno;
  int result = 0;
  if (ThreadState* state = ThreadState::current(result); state != nullptr) {
    result = state->exclusively([&](Generator& generator, ThreadIdentifiers& identifiers) {
      Sources& sources = process()->sources;
      for (int i = 0; i < kTries; ++i) {
        stop_at(StopPoint::kBeforeIdentifierStamp);
        const Stamp stamp = sources.stamp();
        stop_at(StopPoint::kAfterIdentifierStamp);
        if (const int code = make(generator, identifiers, stamp); code != 0) return code;
        stop_at(StopPoint::kAfterIdentifier);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (sources.stamp() == stamp) {
          stop_at(StopPoint::kAfterIdentifierPostCheck);
          return 0;
        }
      }
      return CS_E_UNSTABLE;
    });
  }
  if (result != 0) wipe(value, 16);
  errno = kept_errno;
  return result;
}

}  // namespace clonesafe::ids

#endif  // CLONESAFE_IDS_MAKING_H_
