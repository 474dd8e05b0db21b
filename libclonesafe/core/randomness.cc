#include "libclonesafe/core/randomness.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/core/seams.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace clonesafe::core {
namespace {

constinit std::atomic<int> kernel_error = 0;

int read_urandom(std::uint8_t* bytes, std::size_t length) {
  const UniqueFd fd(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
  if (!fd) return -errno;
  while (length > 0) {
    const ssize_t got = ::read(fd.get(), bytes, length);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got < 0 ? -errno : -EIO;
    bytes += got;
    length -= static_cast<std::size_t>(got);
  }
  return 0;
}

#if defined(__x86_64__)

bool rdrand(std::uint64_t& word) {
  // Ten tries: Intel SDM volume 1, 7.3.17.
  for (int i = 0; i < 10; ++i) {
    unsigned char ok = 0;
    // Early clobber: `ok` may be in memory, and its address must not be in the register of `word`.
    __asm__ volatile("rdrand %0; setc %1" : "=&r"(word), "=qm"(ok) : : "cc");
    if (ok != 0) return true;
  }
  return false;
}

bool rdseed(std::uint64_t& word) {
  for (int i = 0; i < 100; ++i) {
    unsigned char ok = 0;
    __asm__ volatile("rdseed %0; setc %1" : "=&r"(word), "=qm"(ok) : : "cc");
    if (ok != 0) return true;
    __asm__ volatile("pause");
  }
  return false;
}

// CPUID traps to the hypervisor (tens of microseconds in a guest), so it is asked once. The answer
// is the same in every clone: a snapshot is restored only on a processor that has what it had.
enum class Instruction : std::uint8_t { kUnknown, kNone, kRdrand, kRdseed };

Instruction detect_instruction() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_RDRND) != 0) {
    return Instruction::kRdrand;
  }
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_RDSEED) != 0) {
    return Instruction::kRdseed;
  }
  return Instruction::kNone;
}

bool read_hardware(std::uint64_t (&words)[4]) {
  static constinit std::atomic<Instruction> cached = Instruction::kUnknown;
  Instruction instruction = cached.load(std::memory_order_relaxed);
  if (instruction == Instruction::kUnknown) {
    instruction = detect_instruction();
    cached.store(instruction, std::memory_order_relaxed);
  }
  if (instruction == Instruction::kNone) return false;
  for (std::uint64_t& word : words) {
    if (!(instruction == Instruction::kRdrand ? rdrand(word) : rdseed(word))) return false;
  }
  // Some processors have answered with the same word for ever (all ones after a suspend).
  for (std::size_t i = 0; i < 4; ++i) {
    if (words[i] == 0 || words[i] == ~std::uint64_t{0}) return false;
    if (i > 0 && words[i] == words[i - 1]) return false;
  }
  return true;
}

#else

bool read_hardware(std::uint64_t (&)[4]) {
  return false;
}

#endif

int ask_kernel(void* buffer, std::size_t length) {
#ifdef CLONESAFE_TESTING
  if (seams_for_testing.kernel_random != nullptr) {
    return seams_for_testing.kernel_random(buffer, length);
  }
#endif
  auto* bytes = static_cast<std::uint8_t*>(buffer);
  while (length > 0) {
    const ssize_t got = ::getrandom(bytes, length, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      return read_urandom(bytes, length);
    }
    bytes += got;
    length -= static_cast<std::size_t>(got);
  }
  return 0;
}

}  // namespace

int fill_kernel_random(void* buffer, std::size_t length) {
  const int result = ask_kernel(buffer, length);
  // Threads share the word, so it is written only when it changes.
  if (result != kernel_error.load(std::memory_order_relaxed)) [[unlikely]] {
    kernel_error.store(result, std::memory_order_relaxed);
  }
  return result;
}

int last_kernel_random_error() {
  return kernel_error.load(std::memory_order_relaxed);
}

bool fill_hardware_random(std::uint64_t (&words)[4]) {
#ifdef CLONESAFE_TESTING
  if (seams_for_testing.hardware_random != nullptr) {
    return seams_for_testing.hardware_random(words);
  }
#endif
  return read_hardware(words);
}

}  // namespace clonesafe::core
