#ifndef CLONESAFE_TESTS_LAB_NESTED_STATE_BEATS_H_
#define CLONESAFE_TESTS_LAB_NESTED_STATE_BEATS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

// What guest_state's processes share: what moves, and what was found wrong.
namespace clonesafe::lab {

inline constexpr int kMaxProcessors = 8;

struct Beats {
  std::atomic<std::uint64_t> registers[kMaxProcessors];  // patterns that came back whole
  std::atomic<std::uint64_t> timers[kMaxProcessors];     // timers that went off
  std::atomic<std::uint64_t> wakes[kMaxProcessors];      // wakes by the neighbour
  std::atomic<std::uint64_t> barriers;                   // interrupts sent to all processors
  std::atomic<std::uint64_t> traps;                      // debug registers that hit
  std::atomic<std::uint64_t> serial;                     // lines on the first serial line
  std::atomic<std::uint64_t> last_ns;                    // the latest CLOCK_MONOTONIC seen
  std::atomic<std::uint64_t> errors;
  char first_error[160];
};

// The first error is kept.
void found_wrong(Beats& beats, const char* what, std::uint64_t expected, std::uint64_t found);
// CLOCK_MONOTONIC, which must not be before what any processor has seen.
std::uint64_t checked_now(Beats& beats);

// Memory that all who name the file share; null, and a line on standard error, if it can't be had.
void* shared_file(const char* path, std::size_t size);
// A line for each count that is not 0, and for the first error.
void report_counts(const char* name, const std::atomic<std::uint64_t>* counts, int size);
void report_errors(const Beats& beats);
// The calling thread runs on no other processor.
void stay_on(int processor);

// Fills x87, SSE and, where there are any, AVX registers with a pattern made of `seed`, holds it
// there for many turns without a system call, and looks whether it is still there.
void hold_registers(Beats& beats, std::uint64_t seed, std::uint64_t turns);
// A child that writes to a variable, and the debug registers that see each write. Never returns.
void watch_by_debug_registers(Beats& beats);

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_STATE_BEATS_H_
