// core: what libclonesafe does: it watches the generation sources and runs the clone-safe
// generator.
//
// This header names the places at which a test can stop the library and the inputs that a test can
// replace. They exist only in the library that the unit tests link (CLONESAFE_TESTING); in the
// shipped one every hook is an empty inline function and every input is the real one.
#ifndef CLONESAFE_CORE_SEAMS_H_
#define CLONESAFE_CORE_SEAMS_H_

#include <cstddef>
#include <cstdint>

#include "libclonesafe/core/physical_word.h"

namespace clonesafe::core {

// Where a snapshot can fall in a draw.
enum class StopPoint {
  kBeforeStamp,     // nothing was read yet
  kAfterStamp,      // the stamp is read, the seed material not
  kAfterGather,     // the seed material is read, the key not changed yet
  kAfterSeed,       // the new key is in place and was checked
  kAfterGenerate,   // the bytes are in the caller's buffer, unchecked
  kAfterPostCheck,  // the last look is done: what comes later is the caller's
  // In values and hooks:
  kAfterBuild,  // a value was made in full, unchecked
  kAfterCopy,   // a tagged value is in the caller's buffer, unchecked
  // The same for identifiers, around the draws that they make.
  kBeforeIdentifierStamp,
  kAfterIdentifierStamp,
  kAfterIdentifier,
  kAfterIdentifierPostCheck,
  kAfterLease  // a lessor gave a worker id, and nothing was made with it yet
};

#ifdef CLONESAFE_TESTING

struct SeamsForTesting {
  void (*stop)(StopPoint) = nullptr;
  // 0, or a negative errno.
  int (*kernel_random)(void* buffer, std::size_t length) = nullptr;
  bool (*hardware_random)(std::uint64_t (&words)[4]) = nullptr;
  // Process and thread id, TSC and clocks give nothing: they too are equal in siblings.
  bool freeze_local_inputs = false;
  bool detect_forks = true;
  const char* page_path = nullptr;
  const char* vmclock_path = nullptr;
  // For all users, on all machines; not looked for while `iomem` is null.
  PhysicalPaths physical_paths = {.memory = nullptr, .iomem = nullptr, .acpi_tables = nullptr};
  long uniqueness_wait_ms = 1000;
  bool rescan_always = false;  // instead of now and then
  // What CTR_DRBG gets in place of the kernel's bytes, in turn, and once as its nonce.
  const std::uint8_t* drbg_entropy = nullptr;
  std::size_t drbg_entropy_size = 0;
  const std::uint8_t* drbg_nonce = nullptr;  // 16 bytes
  // Of the watcher thread of hooks.
  long agent_grace_ms = 1000;
  long agent_retry_ms = 500;
  // CLOCK_REALTIME, as identifiers read it.
  std::int64_t (*realtime_ns)() = nullptr;
};
extern SeamsForTesting seams_for_testing;

inline void stop_at(StopPoint point) {
  if (seams_for_testing.stop != nullptr) seams_for_testing.stop(point);
}

#else

inline void stop_at(StopPoint) {}

#endif

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_SEAMS_H_
