// The part of guest_state that keeps known values in registers.
#include <cpuid.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstring>

#include "tests/lab/nested/state_beats.h"

namespace clonesafe::lab {
namespace {

struct alignas(64) Pattern {
  std::uint64_t vector[16][4];
  double x87[8];
  std::uint32_t mxcsr;
  std::uint16_t control;
};

bool has_avx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kOsxsave = 1U << 27, kAvx = 1U << 28;
  return (ecx & kOsxsave) != 0 && (ecx & kAvx) != 0;
}

Pattern make_pattern(std::uint64_t seed) {
  Pattern pattern{};
  std::uint64_t value = seed * 0x9e3779b97f4a7c15U + 1;
  for (auto& vector : pattern.vector) {
    for (auto& word : vector) word = value = value * 6364136223846793005U + 1442695040888963407U;
  }
  for (int i = 0; i < 8; ++i)
    pattern.x87[i] = static_cast<double>((seed % 1000) * 8 + 1) + i / 16.0;
  pattern.mxcsr = 0x3f80;    // round towards minus infinity: not what a process starts with
  pattern.control = 0x0c7f;  // x87: truncate, 24 bits of precision
  return pattern;
}

// Loads, waits `turns`, stores. `MOVE` is movdqu or vmovdqu, `REGISTER` xmm or ymm.
#define CLONESAFE_EACH(OPERATION) \
  OPERATION(0)                    \
  OPERATION(1)                    \
  OPERATION(2)                    \
  OPERATION(3)                    \
  OPERATION(4)                    \
  OPERATION(5)                    \
  OPERATION(6)                    \
  OPERATION(7)                    \
  OPERATION(8)                    \
  OPERATION(9)                    \
  OPERATION(10)                   \
  OPERATION(11)                   \
  OPERATION(12)                   \
  OPERATION(13)                   \
  OPERATION(14)                   \
  OPERATION(15)
#define CLONESAFE_LOAD_XMM(n) "movdqu 32*" #n "(%[in]), %%xmm" #n "\n"
#define CLONESAFE_STORE_XMM(n) "movdqu %%xmm" #n ", 32*" #n "(%[out])\n"
#define CLONESAFE_LOAD_YMM(n) "vmovdqu 32*" #n "(%[in]), %%ymm" #n "\n"
#define CLONESAFE_STORE_YMM(n) "vmovdqu %%ymm" #n ", 32*" #n "(%[out])\n"
#define CLONESAFE_HOLD(LOAD, STORE) \
  asm volatile(                                                                                  \
      "fninit\nfldcw %[control]\nldmxcsr %[mxcsr]\n"                                             \
      "fldl 512(%[in])\nfldl 520(%[in])\nfldl 528(%[in])\nfldl 536(%[in])\n"                     \
      "fldl 544(%[in])\nfldl 552(%[in])\nfldl 560(%[in])\nfldl 568(%[in])\n" CLONESAFE_EACH(LOAD) \
      "1: dec %[turns]\njnz 1b\n" CLONESAFE_EACH(STORE)                                          \
      "fstpl 568(%[out])\nfstpl 560(%[out])\nfstpl 552(%[out])\nfstpl 544(%[out])\n"             \
      "fstpl 536(%[out])\nfstpl 528(%[out])\nfstpl 520(%[out])\nfstpl 512(%[out])\n"             \
      "stmxcsr 576(%[out])\nfnstcw 580(%[out])\nfninit\nldmxcsr %[usual]\n"                      \
      : [turns] "+r"(turns)                                                                      \
      : [in] "r"(&pattern), [out] "r"(&found), [control] "m"(pattern.control),                   \
        [mxcsr] "m"(pattern.mxcsr), [usual] "m"(usual)                                           \
      : "memory", "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)",      \
        "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",  \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")

static_assert(offsetof(Pattern, x87) == 512 && offsetof(Pattern, mxcsr) == 576 &&
              offsetof(Pattern, control) == 580);

constexpr std::size_t kDebugRegister = offsetof(struct user, u_debugreg);
constexpr std::size_t debug_register(std::size_t number) {
  return kDebugRegister + number * sizeof(long);
}

volatile std::uint64_t watched = 0;

[[noreturn]] void write_for_ever() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  raise(SIGSTOP);
  for (std::uint64_t i = 1;; ++i) {
    watched = i;
    for (int wait = 0; wait < 100'000; ++wait) asm volatile("");
  }
}

}  // namespace

void hold_registers(Beats& beats, std::uint64_t seed, std::uint64_t turns) {
  const Pattern pattern = make_pattern(seed);
  Pattern found{};
  const std::uint32_t usual = 0x1f80;
  const bool avx = has_avx();
  if (avx)
    CLONESAFE_HOLD(CLONESAFE_LOAD_YMM, CLONESAFE_STORE_YMM);
  else
    CLONESAFE_HOLD(CLONESAFE_LOAD_XMM, CLONESAFE_STORE_XMM);

  for (std::uint64_t i = 0; i < 16; ++i) {
    for (std::uint64_t word = 0; word < (avx ? 4U : 2U); ++word) {
      if (found.vector[i][word] != pattern.vector[i][word])
        found_wrong(beats, "vector register", pattern.vector[i][word], found.vector[i][word]);
    }
  }
  for (int i = 0; i < 8; ++i) {
    if (std::memcmp(&found.x87[i], &pattern.x87[i], sizeof(double)) != 0)
      found_wrong(beats, "x87 register", static_cast<std::uint64_t>(pattern.x87[i] * 16),
                  static_cast<std::uint64_t>(found.x87[i] * 16));
  }
  if (found.mxcsr != pattern.mxcsr) found_wrong(beats, "MXCSR", pattern.mxcsr, found.mxcsr);
  if (found.control != pattern.control)
    found_wrong(beats, "x87 control word", pattern.control, found.control);
}

void watch_by_debug_registers(Beats& beats) {
  const pid_t child = fork();
  if (child == 0) write_for_ever();
  int status = 0;
  constexpr long kWriteOf8Bytes = 0x90001;  // DR7: DR0 on, on write, 8 bytes
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status) ||
      ptrace(PTRACE_POKEUSER, child, debug_register(0), &watched) != 0 ||
      ptrace(PTRACE_POKEUSER, child, debug_register(7), kWriteOf8Bytes) != 0) {
    found_wrong(beats, "debug registers can't be set", 0, 0);
    return;
  }
  for (std::uint64_t expected = 1;; ++expected) {
    ptrace(PTRACE_CONT, child, nullptr, nullptr);
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
      found_wrong(beats, "debugged child's status", 0, static_cast<std::uint64_t>(status));
      return;
    }
    // The trap comes after the write. One that was missed shows in the number.
    const auto value = static_cast<std::uint64_t>(
        ptrace(PTRACE_PEEKDATA, child, const_cast<std::uint64_t*>(&watched), nullptr));
    if (value != expected) found_wrong(beats, "write seen by DR0", expected, value);
    const auto cause =
        static_cast<std::uint64_t>(ptrace(PTRACE_PEEKUSER, child, debug_register(6), nullptr));
    if ((cause & 1) == 0) found_wrong(beats, "DR6", 1, cause);
    expected = value;
    beats.traps.fetch_add(1);
  }
}

}  // namespace clonesafe::lab
