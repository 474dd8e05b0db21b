#ifndef CLONESAFE_CORE_RANDOMNESS_H_
#define CLONESAFE_CORE_RANDOMNESS_H_

#include <cstddef>
#include <cstdint>

namespace clonesafe::core {

// Fills the buffer from getrandom(2), or /dev/urandom where that system call is missing or
// forbidden. 0, or a negative errno. Right after a restore these bytes may be a sibling's too.
int fill_kernel_random(void* buffer, std::size_t length);

// 256 bits from RDRAND (RDSEED where there is no RDRAND: it takes microseconds a word, RDRAND tens
// of nanoseconds). False if the processor has neither, or what it gives can't be random.
bool fill_hardware_random(std::uint64_t (&words)[4]);

// The negative errno of the last fill_kernel_random; 0 if it succeeded or there was none.
int last_kernel_random_error();

}  // namespace clonesafe::core

#endif  // CLONESAFE_CORE_RANDOMNESS_H_
