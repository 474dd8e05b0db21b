#ifndef CLONESAFE_VMM_DEVICE_JAIL_FILTER_H_
#define CLONESAFE_VMM_DEVICE_JAIL_FILTER_H_

#include <linux/filter.h>

#include <cstdint>
#include <span>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::jail {

// One way in which a system call is allowed; a call that none of a table's entries allows is
// forbidden.
struct AllowedCall {
  static constexpr int kAnyArguments = -1;
  // Stands for the id of the process that installs the filter; no process has it.
  static constexpr std::uint32_t kOwnProcess = 0x7fff'fffe;

  int number;
  // Which argument is looked at, and what it must be under the mask.
  int argument = kAnyArguments;
  std::uint32_t mask = 0;
  std::uint32_t value = 0;
};

constexpr AllowedCall unless(int number, int argument, std::uint32_t bits) {
  return {.number = number, .argument = argument, .mask = bits, .value = 0};
}
constexpr AllowedCall only(int number, int argument, std::uint32_t value) {
  return {.number = number, .argument = argument, .mask = 0xffff'ffff, .value = value};
}

// What becomes of a forbidden call. None is made.
enum class Forbidden {
  kTrap,  // SIGSYS, whose handler can say which it was
  kDeny   // EPERM, and a line in the kernel's audit log
};

struct FilterRules {
  Forbidden forbidden = Forbidden::kTrap;
  std::vector<std::span<const AllowedCall>> allowed;
  std::vector<int> unknown;  // "no such call" (ENOSYS): libc has another one for it
  std::vector<int> fatal;    // end the process, without a handler
};

// As the kernel takes it. Calls of another architecture (i386, x32) end the process.
Result<std::vector<sock_filter>> compile_filter(const FilterRules& rules);

// For this thread and those that it starts, for good. Sets no_new_privs.
Status install_filter(std::vector<sock_filter> program, Forbidden forbidden);

}  // namespace clonesafe::jail

#endif  // CLONESAFE_VMM_DEVICE_JAIL_FILTER_H_
